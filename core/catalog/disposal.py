"""Which paths in the store this database needs, and which it knows to be dead.

A path of neither kind is another's: of a second installation that shares the store, of a database
that was given up, of a time after the dump that was restored. Nobody here may delete it.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.tables import Corpus, Job, Version
from core.jobs.states import FINAL_STATES, JobKind, JobState

# Where jobs write: a version of its own for each attempt, named by the fence.
_MODEL = re.compile(r"models/[^/]+/(?P<id>\w{20})-(?P<token>\d+)")
_CORPUS = re.compile(r"corpora/(?P<id>\w{20})-(?P<token>\d+)")
_UPLOAD = re.compile(r"uploads/(?P<id>\w{20})")


def kept_paths(session: Session) -> set[str]:
    """The store paths that some row still needs.

    They are those of living versions and of what these are built on, of corpora, and of uploads
    that wait to be read.
    """
    living = select(Version.base_id).where(
        Version.retired_at.is_(None), Version.base_id.is_not(None)
    )
    versions = select(Version.store_path).where(
        Version.retired_at.is_(None) | Version.id.in_(living)
    )
    return {*session.scalars(versions), *session.scalars(select(Corpus.store_path))}


def dead_paths(session: Session, candidates: Collection[str]) -> set[str]:
    """Those of the candidates that this database knows, and that nothing here needs any more.

    They are versions that were retired, and what jobs of this database left: attempts that came
    to nothing, corpora of fine-tunes that were cancelled, uploads that were read.

    Args:
        session: an open transaction.
        candidates: paths of versions and uploads that were written long ago.
    """
    retired = select(Version.store_path).where(Version.retired_at.is_not(None))
    dead = set(session.scalars(retired)).intersection(candidates)
    attempts = _attempts(session)
    dead.update(path for path in candidates if _was_left(path, attempts))
    return dead - kept_paths(session)


class _Attempt(NamedTuple):
    """How far a job is."""

    token: int
    is_ended: bool


def _attempts(session: Session) -> dict[str, _Attempt]:
    """The jobs that write to the store, by what their paths are named after."""
    jobs = session.execute(
        select(Job.id, Job.kind, Job.state, Job.token, Job.payload)
        # Naming all states lets the index on state and kind be used.
        .where(Job.state.in_(list(JobState)), Job.kind.in_((JobKind.FINETUNE, JobKind.VALIDATE)))
    )
    return {
        job.id if job.kind == JobKind.FINETUNE else str(job.payload.get("corpus_id")): _Attempt(
            job.token, job.state in FINAL_STATES
        )
        for job in jobs
    }


def _was_left(path: str, attempts: dict[str, _Attempt]) -> bool:
    for pattern in (_MODEL, _CORPUS, _UPLOAD):
        found = pattern.fullmatch(path)
        attempt = attempts.get(found["id"]) if found else None
        if found and attempt:
            token = found.groupdict().get("token")
            return attempt.is_ended or (token is not None and int(token) < attempt.token)
    return False

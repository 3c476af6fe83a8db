"""A fine-tune asked for in Discord: its rows, the validation of its corpus, and what follows.

Two jobs belong to it. The fine-tune itself waits as ``validating`` and is shown on a board; a job
of kind ``validate`` reads the upload under a lease of its own, like any other work. Once that one
has ended, the fine-tune waits for its admin's word, or has failed with the same reason.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from core.conversations.answers import find_weights
from core.conversations.places import Place, open_place
from core.conversations.utterances import Weights
from core.corpora.searches import SEARCH, SearchSpec
from core.corpora.uploads import UploadedFile, Uploads
from core.db.clock import epoch_now
from core.db.statements import count_changed
from core.db.tables import Board, Corpus, Job
from core.errors import InvalidInputError, NotFoundError
from core.jobs.admission import admit, amend, refuse
from core.jobs.ledger import Claim, NewJob, request_cancel, submit, succeed
from core.jobs.states import FINAL_STATES, JobKind, JobState


class NotReadYetError(InvalidInputError):
    """The corpus of a fine-tune is not read yet, so it cannot start."""

    code = "not-read-yet"


@dataclass(frozen=True)
class NewFinetune:
    """What an admin asked for. The rights to the files were declared just now.

    Attributes:
        place: the channel that shows the fine-tune.
        requester_id: who asked.
        model: what the new model is to be called.
        base_version_id, base_name: what it is built on.
        options: of the run, as the trainer knows them.
        corpus_id: under which the files were taken in.
        files: what was taken in, in order.
        process_name: of the bot process that shows it.
        locale: the language of what is shown.
        search: of the best options, where one is wanted instead of a single run.
        validation_share: of the documents, to be held back; None for the usual share. A file that
            is marked for validation takes its place.
    """

    place: Place
    requester_id: int
    model: str
    base_version_id: str
    base_name: str
    options: dict[str, Any]
    corpus_id: str
    files: tuple[UploadedFile, ...]
    process_name: str
    locale: str
    search: SearchSpec | None = None
    validation_share: float | None = None


@dataclass(frozen=True)
class Submitted:
    """The two jobs of a fine-tune; the hint of the second is to be published."""

    job_id: str
    validation_id: str


@dataclass(frozen=True)
class Validation:
    """What a ``validate`` job has to do."""

    finetune_id: str
    corpus_id: str
    files: tuple[UploadedFile, ...]
    base: Weights
    options: dict[str, Any]
    search: dict[str, Any] | None
    validation_share: float | None = None


@dataclass(frozen=True)
class PreparedCorpus:
    """A corpus as it now stands in the store, ready to be learnt from.

    Attributes:
        store_path: of the published folder.
        manifest_sha256: of its manifest, which names each file's hash.
        sha256: of its content.
        total_bytes: of its files.
        report: what the admin reads.
        plan: of the run, as the trainer would make it; see :mod:`workers.validation.child`.
    """

    store_path: str
    manifest_sha256: str
    sha256: str
    total_bytes: int
    report: dict[str, Any]
    plan: dict[str, Any]


def submit_finetune(session: Session, new: NewFinetune) -> Submitted:
    """Write corpus, both jobs and the board, in the caller's transaction."""
    place = new.place
    open_place(session, place)
    _add_corpus(session, new)
    payload = {
        "model": new.model,
        "base_version_id": new.base_version_id,
        "base_name": new.base_name,
        "options": new.options,
        "corpus_id": new.corpus_id,
    }
    if new.search is not None:
        payload[SEARCH] = new.search.to_json()
    job_id = submit(session, _new_job(JobKind.FINETUNE, new, payload), JobState.VALIDATING)
    validation = {
        "finetune_id": job_id,
        "corpus_id": new.corpus_id,
        "files": [asdict(file) for file in new.files],
        "validation_share": new.validation_share,
    }
    validation_id = submit(session, _new_job(JobKind.VALIDATE, new, validation))
    amend(session, job_id, validation_id=validation_id)
    session.add(
        Board(
            job_id=job_id,
            process_name=new.process_name,
            channel_id=place.channel_id,
            locale=new.locale,
        )
    )
    session.flush()
    return Submitted(job_id, validation_id)


def count_open(session: Session, guild_id: int | None) -> int:
    """How many fine-tunes of a guild are not ended, those that wait for their admin included."""
    query = select(func.count()).where(
        Job.guild_id.is_not_distinct_from(guild_id),
        Job.kind == JobKind.FINETUNE,
        Job.state.not_in(FINAL_STATES),
    )
    return session.scalar(query) or 0


def is_corpus_known(session: Session, corpus_id: str) -> bool:
    """Whether a row names this corpus, so that somebody may still want its files."""
    return session.scalar(select(Corpus.id).where(Corpus.id == corpus_id)) is not None


def load_validation(session: Session, held: Claim) -> Validation:
    """What a claimed ``validate`` job is about.

    Raises:
        NotFoundError: its fine-tune or its base is gone.
    """
    payload = held.payload
    finetune = session.scalar(select(Job.payload).where(Job.id == payload["finetune_id"]))
    if finetune is None:
        raise NotFoundError("The fine-tune of this validation is gone.", job=held.job_id)
    base = find_weights(session, finetune["base_version_id"])
    if base is None:
        raise NotFoundError(
            f"The base model “{finetune['base_name']}” is gone.", model=finetune["base_name"]
        )
    files = tuple(UploadedFile(**file) for file in payload["files"])
    return Validation(
        payload["finetune_id"],
        payload["corpus_id"],
        files,
        base,
        finetune["options"],
        finetune.get(SEARCH),
        payload.get("validation_share"),
    )


def accept_corpus(session: Session, held: Claim, prepared: PreparedCorpus) -> bool:
    """End a validation well: its fine-tune may start now.

    Returns:
        False where nobody waits for it any more; then the prepared corpus is to be retired.

    Raises:
        LeaseLostError, CancelledJobError: as :func:`core.jobs.ledger.succeed`.
    """
    payload = held.payload
    is_awaited = amend(
        session,
        payload["finetune_id"],
        corpus_path=prepared.store_path,
        corpus_manifest_sha256=prepared.manifest_sha256,
        plan=prepared.plan,
    )
    if is_awaited:
        session.execute(
            update(Corpus)
            .where(Corpus.id == payload["corpus_id"])
            .values(
                store_path=prepared.store_path,
                sha256=prepared.sha256,
                total_bytes=prepared.total_bytes,
                report=prepared.report,
            )
        )
    succeed(session, held, {"is_awaited": is_awaited})
    return is_awaited


def start_finetune(session: Session, job_id: str, *guards: ColumnElement[bool]) -> bool:
    """An admin has read the report and wants to start.

    Returns:
        False where it was started or ended before.

    Raises:
        NotFoundError: no such job, or the guards exclude it.
        NotReadYetError: its corpus is not read yet.
    """
    found = session.execute(
        select(Job.state, Job.payload).where(
            Job.id == job_id, Job.kind == JobKind.FINETUNE, *guards
        )
    ).one_or_none()
    if found is None:
        raise NotFoundError(f"There is no fine-tune {job_id}.", job=job_id)
    if found.state == JobState.VALIDATING and "corpus_path" not in found.payload:
        raise NotReadYetError("The corpus is not read yet.", job=job_id)
    return admit(session, job_id, *guards)


def cancel_finetune(session: Session, job_id: str, *guards: ColumnElement[bool]) -> str | None:
    """Cancel a fine-tune, and the validation it waits for.

    Returns:
        The id of a corpus that nobody needs any more, whose upload can go; else None.

    Raises:
        NotFoundError: no such job, or the guards exclude it.
    """
    found = session.execute(
        select(Job.state, Job.payload).where(
            Job.id == job_id, Job.kind == JobKind.FINETUNE, *guards
        )
    ).one_or_none()
    if found is None:
        raise NotFoundError(f"There is no fine-tune {job_id}.", job=job_id)
    state = request_cancel(session, job_id, *guards)
    validation_id = found.payload.get("validation_id")
    if found.state != JobState.VALIDATING or state is not JobState.CANCELLED or not validation_id:
        return None
    request_cancel(session, validation_id)
    return _forget_corpus(session, found.payload)


def conclude_validations(session: Session) -> list[str]:
    """End the fine-tunes whose validation failed or was given up, with the same reason.

    Returns:
        The ids of their corpora, whose uploads can go.
    """
    waiting = session.execute(
        select(Job.id, Job.payload)
        .join(Board, Board.job_id == Job.id)
        .where(Board.closed_at.is_(None), Job.state == JobState.VALIDATING)
    ).all()
    ended: list[str] = []
    for job in waiting:
        validation = session.get(Job, job.payload.get("validation_id", ""))
        if validation is None or validation.state not in (JobState.FAILED, JobState.CANCELLED):
            continue
        if validation.state == JobState.CANCELLED:
            request_cancel(session, job.id)
        else:
            data = (validation.result or {}).get("error_data", {})
            code = validation.error_code or "internal"
            refuse(session, job.id, code, validation.error or "", data)
        ended.append(_forget_corpus(session, job.payload))
    return ended


def _new_job(kind: JobKind, new: NewFinetune, payload: dict[str, Any]) -> NewJob:
    place = new.place
    return NewJob(kind, new.requester_id, payload, place.guild_id, place.channel_id)


def _forget_corpus(session: Session, payload: dict[str, Any]) -> str:
    corpus_id: str = payload["corpus_id"]
    count_changed(session, delete(Corpus).where(Corpus.id == corpus_id))
    return corpus_id


def _add_corpus(session: Session, new: NewFinetune) -> None:
    digest = hashlib.sha256("".join(file.sha256 for file in new.files).encode())
    session.add(
        Corpus(
            id=new.corpus_id,
            guild_id=new.place.guild_id,
            uploader_id=new.requester_id,
            name=new.model,
            store_path=Uploads.path_of(new.corpus_id),
            sha256=digest.hexdigest(),
            total_bytes=sum(file.total_bytes for file in new.files),
            rights_declared_at=epoch_now(),
        )
    )
    session.flush()

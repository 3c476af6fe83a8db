"""Which corpora nobody can learn from any more, so that they are not kept for ever."""

from collections.abc import Collection

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.db.tables import Corpus, Guild, Job
from core.jobs.states import FINAL_STATES, JobKind, JobState


def spent_corpora(session: Session) -> dict[str, str]:
    """The store paths of spent corpora, by their ids.

    A corpus stays as long as a job names it, for that may still run or be tried again; so ended
    fine-tunes keep theirs as long as retention keeps their rows. In a guild that the bot has left,
    only those stay that a job has not let go of yet.
    """
    jobs = session.execute(
        select(Job.state, Job.payload)
        # Naming all states lets the index on state and kind be used.
        .where(Job.state.in_(list(JobState)), Job.kind == JobKind.FINETUNE)
    )
    named, in_use = set(), set()
    for job in jobs:
        # What the operator's command line submits names no id.
        names = {job.payload.get("corpus_id"), job.payload.get("corpus_path")} - {None}
        named |= names
        if job.state not in FINAL_STATES:
            in_use |= names
    corpora = session.execute(
        select(Corpus.id, Corpus.store_path, Guild.left_at).outerjoin(
            Guild, Guild.id == Corpus.guild_id
        )
    )
    return {
        corpus.id: corpus.store_path
        for corpus in corpora
        if (named if corpus.left_at is None else in_use).isdisjoint((corpus.id, corpus.store_path))
    }


def forget_corpora(session: Session, corpus_ids: Collection[str]) -> None:
    """Delete the rows of corpora whose files are gone."""
    session.execute(delete(Corpus).where(Corpus.id.in_(corpus_ids)))

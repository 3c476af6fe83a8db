"""Jobs of two guilds, in every state, for the tests of queries and of what shows them."""

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from core.conversations.places import Place, open_place
from core.errors import InvalidInputError
from core.jobs.ledger import NewJob, claim, fail, request_cancel, submit, succeed
from core.jobs.states import JobKind, JobState

GUILD, CHANNEL = 2000, 3000
OTHER_GUILD, OTHER_CHANNEL = 2100, 3100
ADMIN, MEMBER = 1003, 1001


def run(engine: Engine, function, *arguments, **named):
    """Call a function in a transaction of its own."""
    with Session(engine) as session, session.begin():
        return function(session, *arguments, **named)


def add_job(
    engine: Engine,
    state: JobState = JobState.QUEUED,
    kind: JobKind = JobKind.GENERATE,
    guild_id: int | None = GUILD,
    member: int = MEMBER,
    **payload,
) -> str:
    """A job that came into its state as jobs do."""

    def add(session: Session) -> str:
        channel_id = {GUILD: CHANNEL, OTHER_GUILD: OTHER_CHANNEL}.get(guild_id)
        if channel_id is not None:
            open_place(session, Place(channel_id, guild_id, "guild"))
        first = JobState.VALIDATING if state is JobState.VALIDATING else JobState.QUEUED
        job_id = submit(session, NewJob(kind, member, payload, guild_id, channel_id), first)
        bring_to(session, job_id, state)
        return job_id

    return run(engine, add)


def bring_to(session: Session, job_id: str, state: JobState) -> None:
    """Lead a fresh job into a state."""
    if state in (JobState.VALIDATING, JobState.QUEUED):
        return
    if state is JobState.CANCELLED:
        request_cancel(session, job_id)
        return
    taken = claim(session, job_id, "generate-host-1", 30)
    assert taken is not None
    if state is JobState.SUCCEEDED:
        token = {"token": "what", "logprob": -0.5, "likeliest": []}
        told = {"text": "what a member was told", "logprobs": [token], "tokens": 7}
        succeed(session, taken, told)
    elif state is JobState.FAILED:
        fail(session, taken, InvalidInputError("Too odd.", limit=3))

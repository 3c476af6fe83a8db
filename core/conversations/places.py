"""Guilds and channels as rows: where the bot is, and how it behaves there."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from core.conversations.replies import give_up_on_guild
from core.db.clock import epoch_now
from core.db.statements import count_changed, insert_missing, run
from core.db.tables import Channel, Conversation, Guild, Job
from core.ids import new_id
from core.jobs.ledger import request_cancel
from core.jobs.states import JobState

_OPEN = select(Conversation.id).where(
    Conversation.channel_id == bindparam("channel"), Conversation.ended_at.is_(None)
)
_REJOIN = (
    update(Guild.__table__)  # type: ignore[arg-type]
    .where(Guild.id == bindparam("guild"))
    .values(name=bindparam("new_name"), left_at=None)
)


@dataclass(frozen=True)
class Place:
    """A channel, and its guild unless it is a direct message or a terminal.

    ``parent_id`` is the channel that a thread stands in.
    """

    channel_id: int
    guild_id: int | None = None
    guild_name: str = ""
    locale: str = "en"
    parent_id: int | None = None


def open_place(session: Session, place: Place) -> None:
    """Make sure that the guild and the channel have rows."""
    if place.guild_id is not None:
        join_guild(session, place.guild_id, place.guild_name, place.locale)
    insert_missing(
        session,
        Channel.id,
        id=place.channel_id,
        guild_id=place.guild_id,
        parent_id=place.parent_id,
    )


def join_guild(session: Session, guild_id: int, name: str, locale: str) -> None:
    """Note that the bot is in a guild. The language that the guild chose before stays chosen."""
    if insert_missing(session, Guild.id, id=guild_id, name=name, locale=locale) is None:
        run(session, _REJOIN, guild=guild_id, new_name=name)


def leave_guild(session: Session, guild_id: int) -> list[str]:
    """Note that the bot was removed from a guild, and cancel what it still had to do there.

    Returns:
        The ids of the jobs that were cancelled or asked to stop.
    """
    session.execute(update(Guild).where(Guild.id == guild_id).values(left_at=epoch_now()))
    open_jobs = session.scalars(
        select(Job.id).where(
            Job.guild_id == guild_id,
            Job.state.in_((JobState.VALIDATING, JobState.QUEUED, JobState.RUNNING)),
        )
    ).all()
    for job_id in open_jobs:
        request_cancel(session, job_id)
    give_up_on_guild(session, guild_id)
    return list(open_jobs)


def guilds_to_settle(session: Session, present: Collection[int]) -> tuple[list[int], list[int]]:
    """What happened to guilds while nobody heard of it.

    Args:
        session: only read from.
        present: the ids of the guilds in which the bot is.

    Returns:
        The ids of guilds that are noted as the bot's and are not among them, and of those among
        them that are noted as left, each ascending.
    """
    rows = session.execute(select(Guild.id, Guild.left_at).order_by(Guild.id)).all()
    gone = [row.id for row in rows if row.left_at is None and row.id not in present]
    back = [row.id for row in rows if row.left_at is not None and row.id in present]
    return gone, back


def set_listening(session: Session, place: Place, *, is_listening: bool) -> bool:
    """Switch a channel on or off.

    Returns:
        Whether that changed anything.
    """
    open_place(session, place)
    changed = count_changed(
        session,
        update(Channel)
        .where(Channel.id == place.channel_id, Channel.is_listening.is_not(is_listening))
        .values(is_listening=is_listening),
    )
    return changed > 0


def listening_channels(session: Session) -> set[int]:
    """The ids of all channels that are switched on."""
    return set(session.scalars(select(Channel.id).where(Channel.is_listening)))


def set_locale(session: Session, place: Place, locale: str) -> None:
    """Choose the language in which the bot speaks of itself in a place's guild."""
    open_place(session, place)
    session.execute(update(Guild).where(Guild.id == place.guild_id).values(locale=locale))


def set_teacher_role(session: Session, place: Place, role_id: int | None) -> int | None:
    """Choose the role whose members may teach in a place's guild; None for none.

    Returns:
        The role that was chosen before.
    """
    open_place(session, place)
    is_meant = Guild.id == place.guild_id
    before = session.scalar(select(Guild.teacher_role_id).where(is_meant))
    session.execute(update(Guild).where(is_meant).values(teacher_role_id=role_id))
    return before


def teacher_roles(session: Session) -> dict[int, int]:
    """The role whose members may teach, by the guilds that chose one."""
    rows = session.execute(
        select(Guild.id, Guild.teacher_role_id).where(Guild.teacher_role_id.is_not(None))
    )
    return {row.id: row.teacher_role_id for row in rows}


def guild_locales(session: Session) -> dict[int, str]:
    """The language of each guild, by id."""
    return {row.id: row.locale for row in session.execute(select(Guild.id, Guild.locale))}


def open_conversation(session: Session, channel_id: int) -> str:
    """The id of the channel's open conversation, begun now where there is none."""
    found = find_conversation(session, channel_id)
    if found is None:
        insert_missing(session, Conversation.id, id=new_id(), channel_id=channel_id)
        found = find_conversation(session, channel_id)
        assert found is not None  # noqa: S101 - inserted above, by us or by another writer
    return found


def find_conversation(session: Session, channel_id: int) -> str | None:
    """The id of the channel's open conversation, if there is one."""
    found: str | None = run(session, _OPEN, channel=channel_id).scalar_one_or_none()
    return found

"""What is owed under names that nobody bears any more goes to who hears its server now."""

from collections import defaultdict

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from core.db.tables import Board, Job, Reply
from core.sharding import Share


def take_over(session: Session, share: Share) -> int:
    """Have a process owe what another division of Discord's servers left to it.

    The number of shards changes, or a process that heard everything becomes several: what was owed
    before bears other names. A process that still bears such a name may be showing the same; that
    does no harm, since what is shown is only posted once and then edited.

    Args:
        session: an open transaction.
        share: of this process.

    Returns:
        How many replies and boards changed hands.
    """
    replies = select(Reply.job_id, Reply.guild_id).where(
        Reply.delivered_at.is_(None), Reply.process_name.not_in(share.names)
    )
    boards = (
        select(Board.job_id, Job.guild_id)
        .join(Job, Job.id == Board.job_id)
        .where(Board.closed_at.is_(None), Board.process_name.not_in(share.names))
    )
    return _rename(session, Reply, replies, share) + _rename(session, Board, boards, share)


def _rename(
    session: Session,
    table: type[Reply] | type[Board],
    orphans: Select[str, int | None],
    share: Share,
) -> int:
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for row in session.execute(orphans):
        if share.hears(row.guild_id):
            by_name[share.name_for(row.guild_id)].append(row.job_id)
    for name, job_ids in by_name.items():
        session.execute(update(table).where(table.job_id.in_(job_ids)).values(process_name=name))
    return sum(map(len, by_name.values()))

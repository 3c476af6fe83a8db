import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.conversations.intake import IncomingMessage, ReplyOptions, receive
from core.conversations.places import Place
from core.conversations.replies import mark_delivered, owed_replies
from core.corpora.boards import close_board, open_boards
from core.db.tables import Board, Reply
from core.resharding import take_over
from core.sharding import Share

# Of two shards the first guild has the first, the second the second.
HERE, THERE = 4 << 22, 5 << 22


def owe(session, share, guild_id, message_id):
    place = Place(message_id, guild_id, "somewhere" if guild_id else "")
    message = IncomingMessage(place, message_id, 7, "Alice", "hello")
    return receive(session, message, ReplyOptions("parrot", share.name_for(guild_id), {}))


def take(engine, share):
    with Session(engine) as session, session.begin():
        return take_over(session, share)


def owed(engine, share):
    with Session(engine) as session:
        return {reply.job_id for reply in owed_replies(session, share.names)}


@pytest.fixture
def jobs(any_engine):
    """What one process owes to two guilds and a direct channel, and what it owes no more."""
    alone = Share.of("bot-0", "")
    with Session(any_engine) as session, session.begin():
        found = [
            owe(session, alone, guild_id, number)
            for number, guild_id in enumerate((HERE, THERE, None, THERE), 1)
        ]
        mark_delivered(session, found[3], [1])
        session.add_all(
            Board(job_id=job_id, process_name="bot-0", channel_id=1, locale="en")
            for job_id in found[:2]
        )
    return found


def test_what_one_process_owed_goes_to_the_shards_of_the_guilds(any_engine, jobs):
    here, there, direct, delivered = jobs
    first, second = Share.of("bot-0", "0/2"), Share.of("bot-0", "1/2")
    assert owed(any_engine, first) == owed(any_engine, second) == set()
    # The reply and the board of each guild, and the direct message's reply.
    assert (take(any_engine, first), take(any_engine, second)) == (3, 2)
    assert owed(any_engine, first) == {here, direct}
    assert owed(any_engine, second) == {there}
    assert (take(any_engine, first), take(any_engine, second)) == (0, 0)
    with Session(any_engine) as session:
        assert [view.job_id for view in open_boards(session, second.names)] == [there]
        name = session.scalar(select(Reply.process_name).where(Reply.job_id == delivered))
        assert name == "bot-0", "nobody owes it any more"


def test_another_number_of_shards_and_back_to_one_process(any_engine, jobs):
    here, there, direct, _ = jobs
    for text in ("0-1/2", "0-3/8", "4-7/8"):
        take(any_engine, Share.of("bot-0", text))
    low, high = Share.of("bot-0", "0-3/8"), Share.of("bot-0", "4-7/8")
    assert owed(any_engine, low) == {direct}
    assert owed(any_engine, high) == {here, there}
    alone = Share.of("bot-0", "")
    take(any_engine, alone)
    assert owed(any_engine, alone) == {here, there, direct}


def test_a_closed_board_stays_where_it_was(any_engine, jobs):
    with Session(any_engine) as session, session.begin():
        close_board(session, jobs[1])
    assert take(any_engine, Share.of("bot-0", "1/2")) == 1

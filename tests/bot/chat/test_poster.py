"""What Discord answers, told apart at the one seam, against the playground."""

from contextlib import asynccontextmanager

import pytest

from bot.chat.poster import (
    DiscordPoster,
    DiscordUnavailableError,
    MessageGoneError,
    UndeliverableError,
)
from playground import cast
from tests.bot.wire import open_wire

NOWHERE = 999_999_999_999
GENERAL = int(cast.GENERAL)


@asynccontextmanager
async def posting(database_url, valkey, tmp_path):
    async with open_wire(database_url, valkey, tmp_path) as wire, wire.bot() as bot:
        yield wire, DiscordPoster(bot)


async def test_a_nonce_posts_once_and_only_once(database_url, valkey, tmp_path):
    async with posting(database_url, valkey, tmp_path) as (wire, poster):
        first = await poster.post(GENERAL, "Hi", nonce="n1", reply_to=None)
        assert await poster.post(GENERAL, "Hi", nonce="n1", reply_to=None) == first
        assert wire.said_by_bot() == ["Hi"]


async def test_what_can_never_succeed_is_undeliverable(database_url, valkey, tmp_path):
    async with posting(database_url, valkey, tmp_path) as (wire, poster):
        with pytest.raises(UndeliverableError) as gone:
            await poster.post(NOWHERE, "Hi", nonce="n1", reply_to=None)
        wire.world.forbidden_channels.add(cast.GENERAL)
        with pytest.raises(UndeliverableError) as forbidden:
            await poster.show_typing(GENERAL)
        wire.server.faults.next_statuses.append(400)
        with pytest.raises(UndeliverableError) as refused:
            await poster.edit(GENERAL, 1, "Hi")
        reasons = [error.value.data["reason"] for error in (gone, forbidden, refused)]
        assert reasons[:2] == ["gone", "forbidden"]
        assert reasons[2].startswith("refused-")


async def test_a_message_that_is_gone_is_told_apart_from_its_channel(
    database_url, valkey, tmp_path
):
    async with posting(database_url, valkey, tmp_path) as (_, poster):
        with pytest.raises(MessageGoneError):
            await poster.edit(GENERAL, NOWHERE, "Hi")
        await poster.delete(GENERAL, NOWHERE)


async def test_what_may_succeed_later_is_unavailable(database_url, valkey, tmp_path):
    async with posting(database_url, valkey, tmp_path) as (wire, poster):
        message_id = await poster.post(GENERAL, "Hi", nonce="n1", reply_to=None)
        for act in (
            lambda: poster.edit(GENERAL, message_id, "Ho"),
            lambda: poster.delete(GENERAL, message_id),
            lambda: poster.find_replies(GENERAL, 1),
        ):
            # discord.py itself tries 500, 502 and 504 again, but not 503.
            wire.server.faults.next_statuses.append(503)
            with pytest.raises(DiscordUnavailableError):
                await act()
        assert wire.said_by_bot() == ["Hi"]


async def test_own_replies_to_a_message_are_found_again(database_url, valkey, tmp_path):
    async with posting(database_url, valkey, tmp_path) as (wire, poster):
        trigger = int(wire.world.say(cast.ALICE, cast.GENERAL, "Hello Bruno")["id"])
        own = await poster.post(GENERAL, "Hi", nonce="n1", reply_to=trigger)
        await poster.post(GENERAL, "By the way", nonce="n2", reply_to=None)
        wire.world.say(cast.BRUNO, cast.GENERAL, "Salut")
        assert await poster.find_replies(GENERAL, trigger) == [own]

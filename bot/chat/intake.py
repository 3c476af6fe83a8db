"""From a Discord message to rows, a hint and a placeholder."""

import asyncio
from collections.abc import Callable
from functools import partial

import discord
import structlog

from bot.chat.addressing import HeardMessage
from bot.chat.limits import Place as LimitedPlace
from bot.chat.reply_keeper import ReplyKeeper
from core.conversations.intake import IncomingMessage, ReplyOptions, receive
from core.conversations.places import Place
from core.db.desk import Desk
from core.jobs.outbox import Hint
from core.jobs.states import JobKind
from core.monitoring.figures.bot import QUESTIONS
from core.monitoring.tracing import carried
from core.sharding import Share
from core.transport.publisher import Publisher

log = structlog.get_logger(__name__)


class ChatIntake:
    """Owes each message an answer, once, and sets it going."""

    def __init__(
        self,
        desk: Desk,
        publisher: Publisher,
        keeper: ReplyKeeper,
        share: Share,
        default_model: str,
    ) -> None:
        self._desk = desk
        self._publisher = publisher
        self._keeper = keeper
        self._share = share
        self._default_model = default_model

    async def take(
        self, message: discord.Message, text: str, locale: str, place: LimitedPlace
    ) -> str | None:
        """Write the message and its job in one transaction, then publish and show.

        Args:
            message: what was said.
            text: what of it is meant for the bot.
            locale: the language of the reply.
            place: is left once the answer is shown.

        Returns:
            The job's id, or None where the message was already taken in.

        Raises:
            OperationalError: the database cannot be reached; nothing is written.
        """
        incoming = IncomingMessage(
            place=place_of(message, locale),
            message_id=message.id,
            author_id=message.author.id,
            author_name=message.author.display_name,
            text=text,
            priority=place.priority,
        )
        stream = self._share.name_for(incoming.place.guild_id)
        options = ReplyOptions(self._default_model, stream, {})
        job_id = await self._desk.write(lambda session: receive(session, incoming, options))
        if job_id is None:
            return None
        QUESTIONS.inc()
        log.info("asked", job_id=job_id, guild_id=incoming.place.guild_id)
        # The placeholder comes after the hint: posting it first would keep the publisher's thread
        # from the interpreter for milliseconds, while the worker could be at work.
        show = self._keeper.expect(job_id, incoming.place, message.id, shown=place.leave)
        call = partial(_call_in, asyncio.get_running_loop(), show)
        hint = Hint(job_id, JobKind.GENERATE, place.priority, carried())
        self._publisher.publish(hint, then=call)
        return job_id


def _call_in(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Call back in a loop from any thread; one that has ended leaves the rest to the next start."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        log.info("loop_has_ended")


def place_of(message: discord.Message, locale: str) -> Place:
    """Where a message was written."""
    guild = message.guild
    return Place(
        message.channel.id,
        None if guild is None else guild.id,
        "" if guild is None else guild.name,
        locale,
        parent_id=getattr(message.channel, "parent_id", None),
    )


def hear(message: discord.Message, bot_id: int, listening: set[int]) -> HeardMessage:
    """What addressing needs to know of a Discord message."""
    channel = message.channel
    parent_id = getattr(channel, "parent_id", None)
    replied = message.reference.resolved if message.reference is not None else None
    names = {user.id: user.display_name for user in message.mentions}
    names |= {role.id: role.name for role in message.role_mentions}
    names |= {c.id: getattr(c, "name", "") for c in message.channel_mentions}
    return HeardMessage(
        content=message.content,
        is_from_machine=message.author.bot
        or message.webhook_id is not None
        or message.type not in (discord.MessageType.default, discord.MessageType.reply),
        is_direct=message.guild is None,
        is_in_listening_channel=channel.id in listening or parent_id in listening,
        mentions_bot=any(user.id == bot_id for user in message.mentions),
        replies_to_bot=isinstance(replied, discord.Message) and replied.author.id == bot_id,
        names=names,
        has_files=bool(message.attachments or message.stickers or message.poll),
    )

"""Messages come in and are answered. Translates events and delegates."""

import asyncio
import time

import discord
import structlog
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.catalogue import Catalogue, LocaleCode
from bot.chat.addressing import Verdict, address
from bot.chat.intake import ChatIntake, hear
from bot.chat.limits import ChatLimits
from bot.chat.places import Places
from bot.patience import keep_trying
from core.conversations.forgetting import forget_message
from core.db.desk import Desk
from core.monitoring.tracing import begin

log = structlog.get_logger(__name__)

# Messages that wait for the database in memory; beyond it they are lost, and the log says so.
_MAX_WAITING = 1000
# A database that answers within this time is not worth a word.
_PATIENCE_SECONDS = 2.0
_POLL_SECONDS = 0.02


class ChatCog(commands.Cog):
    """Hears every message, answers those that are meant for the bot."""

    def __init__(
        self,
        client: discord.Client,
        intake: ChatIntake,
        places: Places,
        desk: Desk,
        catalogue: Catalogue,
        max_characters: int,
        limits: ChatLimits,
    ) -> None:
        self._client = client
        self._intake = intake
        self._places = places
        self._desk = desk
        self._catalogue = catalogue
        self._max_characters = max_characters
        self._limits = limits
        self._taking: set[int] = set()
        # Messages that wait for longer than is worth silence, and channels that were told so.
        self._overdue: set[int] = set()
        self._told: set[int] = set()
        self._hints: set[asyncio.Task[None]] = set()
        self._is_closing = False

    async def finish(self, within_seconds: float) -> None:
        """Hear nothing more, and write down what was heard; a successor hears the rest."""
        self._is_closing = True
        deadline = time.monotonic() + within_seconds
        # Nothing tells of it, so it is looked for.
        while self._taking and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
        if self._taking:
            log.error("messages_lost", waiting=len(self._taking))

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        """Answer a message that is meant for the bot."""
        user = self._client.user
        if user is None:
            return
        heard = hear(message, user.id, self._places.listening)
        addressed = address(heard, bot_id=user.id, max_characters=self._max_characters)
        locale = self._places.locale_of(message.guild)
        if addressed.verdict is Verdict.ANSWER:
            await self._answer(message, addressed.text, locale)
        elif addressed.verdict is Verdict.ASK_FOR_TEXT:
            await self._hint(message, self._catalogue.say(locale, "chat-text-only"))
        elif addressed.verdict is Verdict.ASK_WHAT:
            await self._hint(message, self._catalogue.say(locale, "chat-ask-what"))
        elif addressed.verdict is Verdict.TOO_LONG:
            text = self._catalogue.say(locale, "chat-text-too-long", limit=self._max_characters)
            await self._hint(message, text)

    async def _answer(self, message: discord.Message, text: str, locale: LocaleCode) -> None:
        """Take a message in; while the database is away it waits here, and its author is told."""
        if self._is_closing:
            return
        if len(self._taking) >= _MAX_WAITING:
            log.error("message_lost", waiting=len(self._taking))
            return
        guild_id = None if message.guild is None else message.guild.id
        place = self._limits.enter(message.author.id, guild_id)
        if place is None:
            if self._limits.is_to_be_told(message.author.id):
                await self._hint(message, self._catalogue.say(locale, "chat-too-many"))
            return
        self._taking.add(message.id)

        async def take() -> str | None:
            # Its author may have deleted it while the database was away.
            if message.id not in self._taking:
                return None
            return await self._intake.take(message, text, locale, place)

        loop = asyncio.get_running_loop()
        telling = loop.call_later(_PATIENCE_SECONDS, self._tell_of_outage, message, locale)
        job_id = None
        try:
            with begin(
                "message", guild_id=guild_id, shard_id=getattr(message.guild, "shard_id", 0)
            ):
                job_id = await keep_trying(take)
        finally:
            if job_id is None:
                place.leave()
            telling.cancel()
            self._taking.discard(message.id)
            self._overdue.discard(message.id)
            if not self._overdue:
                self._told.clear()

    def _tell_of_outage(self, message: discord.Message, locale: LocaleCode) -> None:
        """Tell the author that the message waits, once a channel and outage."""
        self._overdue.add(message.id)
        if message.channel.id in self._told:
            return
        self._told.add(message.channel.id)
        text = self._catalogue.say(locale, "chat-database-down")
        # No reply to the message: a bot that is started anew looks for the answer among those, and
        # would write it over this one.
        hint = asyncio.create_task(self._hint(message, text, is_reply=False))
        self._hints.add(hint)
        hint.add_done_callback(self._hints.discard)

    @commands.Cog.listener()
    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        """Forget a message that its author deleted, and do not answer it any more."""
        await self._forget([event.message_id])

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        """The same for many at once."""
        await self._forget(sorted(event.message_ids))

    async def _forget(self, message_ids: list[int]) -> None:
        self._taking.difference_update(message_ids)

        def forget(session: Session) -> None:
            for message_id in message_ids:
                forget_message(session, message_id)

        await keep_trying(lambda: self._desk.write(forget))

    async def _hint(self, message: discord.Message, text: str, *, is_reply: bool = True) -> None:
        try:
            if is_reply:
                await message.reply(text, mention_author=False)
            else:
                await message.channel.send(text)
        except discord.HTTPException as exc:
            log.info("hint_not_sent", code=exc.code)

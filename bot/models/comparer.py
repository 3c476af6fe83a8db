"""The same question to two versions, and both answers side by side for who asked."""

import asyncio
import time
import zlib
from collections.abc import Callable

import discord
import structlog
from sqlalchemy.orm import Session

from bot.catalogue import Catalogue, LocaleCode, locale_code
from bot.chat.places import Places
from bot.finetune.wording import clipped
from bot.models.question_modal import QuestionModal
from core.catalog.registry import CatalogEntry
from core.conversations.comparing import (
    ComparedAnswer,
    Comparison,
    ask_versions,
    give_up,
    read_answers,
)
from core.db.desk import Desk
from core.errors import NotFoundError
from core.jobs.outbox import Hint
from core.jobs.states import JobKind
from core.transport.publisher import Publisher

log = structlog.get_logger(__name__)

_POLL_SECONDS = 0.3
# Within the quarter of an hour in which Discord takes the answer.
_PATIENCE_SECONDS = 780.0
_MOST_TITLE, _MOST_ANSWER = 240, 1000

FindPair = Callable[[Session, int], tuple[CatalogEntry, CatalogEntry]]


class Comparer:
    """Compares versions within the wall of the guild that asks.

    Args:
        desk: for the rows.
        publisher: of the jobs' hints.
        places: the language of guilds.
        catalogue: the strings.
    """

    def __init__(
        self,
        desk: Desk,
        publisher: Publisher,
        places: Places,
        catalogue: Catalogue,
    ) -> None:
        self._desk = desk
        self._publisher = publisher
        self._places = places
        self._catalogue = catalogue

    async def ask(self, interaction: discord.Interaction, find: FindPair) -> None:
        """Show the form for the question; the answers follow it.

        The form comes first: Discord waits three seconds for it, and a busy database may take
        longer to find the versions.

        Args:
            interaction: not answered yet.
            find: the two versions that the guild of the given id wants to compare; where it
                raises, who filled the form in is told.

        Raises:
            NotFoundError: there is no guild.
        """
        guild_id = interaction.guild_id
        if guild_id is None:
            raise NotFoundError("There are no models to compare outside servers.")

        async def submit(filled_in: discord.Interaction, question: str) -> None:
            self._places.require_teacher(filled_in)
            await filled_in.response.defer(ephemeral=True, thinking=True)
            pair = await self._desk.read(lambda session: find(session, guild_id))
            await self._compare(filled_in, question, pair)

        locale = locale_code(str(interaction.locale))
        await interaction.response.send_modal(QuestionModal(self._catalogue, locale, submit))

    async def _compare(
        self,
        interaction: discord.Interaction,
        question: str,
        pair: tuple[CatalogEntry, CatalogEntry],
    ) -> None:
        place = self._places.place_of(interaction)
        asked = Comparison(
            place,
            interaction.user.id,
            interaction.user.display_name,
            question,
            tuple(entry.version_id for entry in pair),
            zlib.crc32(question.encode()),
        )
        job_ids = await self._desk.write(lambda session: ask_versions(session, asked))
        for job_id in job_ids:
            self._publisher.publish(Hint(job_id, JobKind.GENERATE, 0))
        log.info("compared", job_ids=job_ids)
        answers = await self._await(job_ids)
        embed = self._draw(locale_code(str(interaction.locale)), question, pair, answers)
        await interaction.edit_original_response(embed=embed)

    async def _await(self, job_ids: list[str]) -> list[ComparedAnswer]:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            answers = await self._desk.read(lambda session: read_answers(session, job_ids))
            if all(a.state.is_final for a in answers):
                return answers
            if time.monotonic() > deadline:
                await self._desk.write(lambda session: give_up(session, job_ids))
                return answers
            await asyncio.sleep(_POLL_SECONDS)

    def _draw(
        self,
        locale: LocaleCode,
        question: str,
        pair: tuple[CatalogEntry, CatalogEntry],
        answers: list[ComparedAnswer],
    ) -> discord.Embed:
        embed = discord.Embed(
            title=f"💬 {clipped(' '.join(question.split()), _MOST_TITLE)}",
            colour=discord.Colour.green(),
        )
        for entry, answer in zip(pair, answers, strict=True):
            embed.add_field(
                name=f"{clipped(entry.model, 80)} {entry.number}", value=self._say(locale, answer)
            )
        return embed

    def _say(self, locale: LocaleCode, answer: ComparedAnswer) -> str:
        if answer.text is not None:
            words = discord.utils.escape_markdown(answer.text.strip())
            return words if len(words) <= _MOST_ANSWER else words[: _MOST_ANSWER - 1] + "…"
        if answer.error_code is not None:
            return self._catalogue.say_error(locale, answer.error_code, {})
        key = "error-cancelled" if answer.state.is_final else "compare-too-late"
        return self._catalogue.say(locale, key)

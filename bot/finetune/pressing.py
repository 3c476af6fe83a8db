"""What each button of a board does, behind the wall of its guild."""

from collections.abc import Callable

import discord
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from bot.catalogue import Catalogue, locale_code
from bot.chat.places import Places
from bot.finetune.actions import Action
from bot.finetune.intake import FinetuneIntake
from bot.models.comparer import Comparer
from bot.models.confirming import Confirm
from bot.models.exporter import Exporter
from core.catalog.choices import Reach, choose, visible_version
from core.catalog.lineage import base_of
from core.catalog.registry import CatalogEntry
from core.catalog.retiring import retire_version
from core.conversations.places import Place, open_place
from core.corpora.boards import reopen_board
from core.corpora.submissions import cancel_finetune, start_finetune
from core.db.desk import Desk
from core.db.tables import Job
from core.errors import NotFoundError
from core.jobs.outbox import Hint
from core.jobs.states import JobKind
from core.jobs.steering import pause, resume, stop_early
from core.transport.publisher import Publisher

_CHANGES: dict[Action, Callable[[Session, str, ColumnElement[bool]], bool]] = {
    Action.START: start_finetune,
    Action.PAUSE: pause,
    Action.RESUME: resume,
    Action.STOP: stop_early,
}


class BoardPresser:
    """Does what buttons say. A button of another guild's fine-tune finds nothing."""

    def __init__(
        self,
        desk: Desk,
        publisher: Publisher,
        intake: FinetuneIntake,
        places: Places,
        comparer: Comparer,
        exporter: Exporter,
        catalogue: Catalogue,
    ) -> None:
        self._desk = desk
        self._publisher = publisher
        self._intake = intake
        self._places = places
        self._comparer = comparer
        self._exporter = exporter
        self._catalogue = catalogue
        # Is called once something was changed; the boards draw their buttons, so they come later.
        self.on_change: Callable[[], None] = lambda: None

    async def press(self, interaction: discord.Interaction, action: Action, job_id: str) -> None:
        """Do it; the board then shows what became of it.

        Raises:
            NotFoundError: the fine-tune or its version is gone, or not of this guild.
            NotReadYetError: Start came before the report.
            VersionInUseError: what is to be discarded is the base of another version.
            TooLargeToSendError: what is to be downloaded does not fit an upload.
            SQLAlchemyError: the database cannot be reached.
        """
        guild_id = _guild_of(interaction).id
        if action in (Action.USE_HERE, Action.USE_ON_SERVER):
            await self._use(interaction, job_id, on_server=action is Action.USE_ON_SERVER)
        elif action is Action.COMPARE:
            await self._compare(interaction, job_id)
        elif action is Action.DOWNLOAD:
            await self._exporter.send(
                interaction, lambda session, guild_id: _entry_of(session, job_id, guild_id)
            )
        elif action is Action.DISCARD:
            await self._ask_to_discard(interaction, job_id)
        else:
            await interaction.response.defer()
            await self._steer(action, job_id, Job.guild_id == guild_id)
        self.on_change()

    async def _steer(self, action: Action, job_id: str, is_of_guild: ColumnElement[bool]) -> None:
        if action is Action.CANCEL:
            corpus_id = await self._desk.write(
                lambda session: cancel_finetune(session, job_id, is_of_guild)
            )
            if corpus_id is not None:
                await self._intake.discard(corpus_id)
            return
        is_changed = await self._desk.write(
            lambda session: _CHANGES[action](session, job_id, is_of_guild)
        )
        if is_changed and action is not Action.PAUSE:
            # A second hint for a job that runs is a no-op.
            self._publisher.publish(Hint(job_id, JobKind.FINETUNE, 0))

    async def _use(self, interaction: discord.Interaction, job_id: str, *, on_server: bool) -> None:
        await interaction.response.defer()
        guild = _guild_of(interaction)
        locale = self._places.locale_of(guild)
        channel_id = interaction.channel_id or 0
        scope = Reach(guild.id, None if on_server else channel_id)

        def use(session: Session) -> CatalogEntry:
            version_id = _version_of(session, job_id, guild.id)
            open_place(session, Place(channel_id, guild.id, guild.name, locale))
            return choose(session, scope, version_id, interaction.user.id)

        entry = await self._desk.write(use)
        sentence = self._catalogue.say(
            locale,
            "models-used-server" if on_server else "models-used-here",
            model=entry.model,
            number=entry.number,
        )
        # Everybody sees it: somebody else answers from now on.
        await interaction.followup.send(sentence)

    async def _compare(self, interaction: discord.Interaction, job_id: str) -> None:
        def find(session: Session, guild_id: int) -> tuple[CatalogEntry, CatalogEntry]:
            entry = _entry_of(session, job_id, guild_id)
            base = base_of(session, guild_id, entry)
            if base is None:
                raise NotFoundError("The base is gone.", job=job_id)
            return base, entry

        await self._comparer.ask(interaction, find)

    async def _ask_to_discard(self, interaction: discord.Interaction, job_id: str) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        guild = _guild_of(interaction)
        locale = locale_code(str(interaction.locale))
        version_id = await self._desk.read(lambda session: _version_of(session, job_id, guild.id))

        def retire(session: Session) -> CatalogEntry:
            entry = retire_version(session, guild.id, version_id)
            reopen_board(session, job_id)
            return entry

        async def discard() -> str:
            entry = await self._desk.write(retire)
            self.on_change()
            return self._catalogue.say(
                locale, "models-deleted", model=entry.model, number=entry.number
            )

        require = self._places.require_teacher
        await interaction.followup.send(
            self._catalogue.say(locale, "models-discard-question"),
            view=Confirm(self._catalogue, locale, "models-delete-confirm", require, discard),
            ephemeral=True,
        )


def _guild_of(interaction: discord.Interaction) -> discord.Guild:
    if interaction.guild is None:
        raise NotFoundError("There are no fine-tunes outside servers.")
    return interaction.guild


def _entry_of(session: Session, job_id: str, guild_id: int) -> CatalogEntry:
    """The living version that a guild's own fine-tune made.

    Raises:
        NotFoundError: there is none.
    """
    return visible_version(session, guild_id, _version_of(session, job_id, guild_id))


def _version_of(session: Session, job_id: str, guild_id: int) -> str:
    """The version that a guild's own fine-tune made.

    Raises:
        NotFoundError: there is none.
    """
    result = session.scalar(
        select(Job.result).where(
            Job.id == job_id, Job.guild_id == guild_id, Job.kind == JobKind.FINETUNE
        )
    )
    version_id = (result or {}).get("version_id")
    if version_id is None:
        raise NotFoundError(f"There is no version of fine-tune {job_id}.", job=job_id)
    return str(version_id)

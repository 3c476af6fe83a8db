"""From a filled-in command or form to files that are taken in, and a sentence about it."""

from contextlib import suppress
from dataclasses import replace

import discord
import structlog
from sqlalchemy.exc import SQLAlchemyError

from bot.catalogue import Catalogue, LocaleCode, locale_code
from bot.chat.places import Places
from bot.finetune.board_keeper import BoardKeeper
from bot.finetune.declaring import DeclareRights
from bot.finetune.failures import say_refusal
from bot.finetune.intake import FinetuneIntake, FinetuneRequest
from bot.finetune.upload_modal import UploadModal
from bot.finetune.wishes import StartWishes
from core.errors import PerroquetError

log = structlog.get_logger(__name__)

_NEEDED = discord.Permissions(
    view_channel=True, send_messages=True, embed_links=True, attach_files=True
)


class FinetuneStarter:
    """Begins fine-tunes on behalf of commands and forms."""

    def __init__(
        self, catalogue: Catalogue, places: Places, intake: FinetuneIntake, keeper: BoardKeeper
    ) -> None:
        self._catalogue = catalogue
        self._places = places
        self._intake = intake
        self._keeper = keeper

    async def ask_or_begin(
        self,
        interaction: discord.Interaction,
        wishes: StartWishes,
        files: list[discord.Attachment],
        name: str | None,
        *,
        has_rights: bool,
    ) -> None:
        """Begin, or show the form for what was not said yet; see :meth:`begin`."""
        if files and name:
            await self.begin(interaction, wishes, files, name, has_rights=has_rights)
            return

        async def submit(filled_in: discord.Interaction, form: UploadModal) -> None:
            # The permission may have gone while the form stood open.
            self._places.require_teacher(filled_in)
            said = replace(wishes, prompts=form.prompts)
            everything = [*files, *form.files]
            await self.begin(filled_in, said, everything, form.name, has_rights=form.has_rights)

        locale = locale_code(str(interaction.locale))
        form = UploadModal(
            self._catalogue, locale, name or "", wishes.prompts or "", len(files), submit
        )
        await interaction.response.send_modal(form)

    async def begin(
        self,
        interaction: discord.Interaction,
        wishes: StartWishes,
        files: list[discord.Attachment],
        name: str,
        *,
        has_rights: bool,
    ) -> None:
        """Take files in and tell the asker; the board follows in the channel.

        Args:
            interaction: not answered yet.
            wishes: the options.
            files: what is to be learnt from.
            name: what the new model is to be called.
            has_rights: whether the asker declares to have the rights to the files; a button asks
                who does not.
        """
        locale = locale_code(str(interaction.locale))
        if not interaction.app_permissions.is_superset(_NEEDED):
            sentence = self._catalogue.say(locale, "finetune-cannot-write")
            await interaction.response.send_message(sentence, ephemeral=True)
            return
        if not has_rights:
            await self._ask_for_rights(interaction, wishes, files, name)
            return
        # Downloads may outlast the three seconds that Discord waits for an answer.
        await interaction.response.defer(ephemeral=True, thinking=True)
        request = FinetuneRequest(
            place=self._places.place_of(interaction),
            requester_id=interaction.user.id,
            name=name,
            base=wishes.base,
            options=wishes.run_options,
            attached=wishes.attach(files),
            validation_share=wishes.validation_share,
            search=wishes.search,
        )
        sentence = await self._take(request, locale)
        self._keeper.wake()
        try:
            await interaction.followup.send(sentence, ephemeral=True)
        except discord.HTTPException as exc:
            # After a quarter of an hour the token is dead; the board says all that matters.
            log.info("finetune_answer_late", code=exc.code)

    async def _ask_for_rights(
        self,
        interaction: discord.Interaction,
        wishes: StartWishes,
        files: list[discord.Attachment],
        name: str,
    ) -> None:
        """Take nothing in, but let a button go on with the same files."""

        async def declare(pressed: discord.Interaction) -> None:
            await self.begin(pressed, wishes, files, name, has_rights=True)
            with suppress(discord.HTTPException):
                await interaction.edit_original_response(view=None)

        locale = locale_code(str(interaction.locale))
        await interaction.response.send_message(
            self._catalogue.say(locale, "finetune-rights-missing"),
            view=DeclareRights(self._catalogue, locale, self._places.require_teacher, declare),
            ephemeral=True,
        )

    async def _take(self, request: FinetuneRequest, locale: LocaleCode) -> str:
        try:
            await self._intake.take(request)
        except PerroquetError as exc:
            return say_refusal(self._catalogue, locale, exc)
        except SQLAlchemyError:
            return self._catalogue.say(locale, "error-service-unavailable")
        sentence = self._catalogue.say(locale, "finetune-taken-in", count=len(request.attached))
        if locale_code(request.place.locale) != locale:
            # The report is the channel's, and so in the server's language.
            sentence += " " + self._catalogue.say(locale, "finetune-other-language")
        return sentence

"""The buttons of boards. They outlive restarts: their custom id alone says what is to be done."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Self

import discord
import structlog
from sqlalchemy.exc import SQLAlchemyError

from bot.catalogue import Catalogue, locale_code
from bot.chat.places import Places
from bot.finetune.actions import CUSTOM_ID, Action, custom_id
from bot.finetune.failures import say_refusal
from core.errors import PerroquetError

log = structlog.get_logger(__name__)

_STYLES = {
    Action.START: discord.ButtonStyle.success,
    Action.CANCEL: discord.ButtonStyle.danger,
    Action.STOP: discord.ButtonStyle.primary,
    Action.RESUME: discord.ButtonStyle.success,
    Action.DISCARD: discord.ButtonStyle.danger,
}

Press = Callable[[discord.Interaction, Action, str], Awaitable[None]]


def make_board_button(
    catalogue: Catalogue, places: Places, press: Press
) -> type[discord.ui.DynamicItem[discord.ui.Button[Any]]]:
    """The class of all buttons of boards, to be registered with the client once.

    Args:
        catalogue: the strings.
        places: who may teach.
        press: does what a button says; is asked only for those who may teach. Its errors are
            told to the one who pressed.
    """

    class BoardButton(discord.ui.DynamicItem[discord.ui.Button[Any]], template=CUSTOM_ID):
        """One button, made for a board or found again in a message."""

        def __init__(self, action: Action, job_id: str, locale: str) -> None:
            super().__init__(
                discord.ui.Button(
                    label=catalogue.say(locale, f"button-{action}"),
                    style=_STYLES.get(action, discord.ButtonStyle.secondary),
                    custom_id=custom_id(action, job_id),
                )
            )
            self._action = action
            self._job_id = job_id

        @classmethod
        async def from_custom_id(
            cls,
            interaction: discord.Interaction,
            item: discord.ui.Item[Any],  # noqa: ARG003 - discord.py's signature
            match: re.Match[str],
            /,
        ) -> Self:
            """The button that was pressed."""
            return cls(Action(match["action"]), match["job_id"], str(interaction.locale))

        async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
            """Only who may teach may press."""
            if places.may_teach(interaction):
                return True
            sentence = catalogue.say(_locale(interaction), "error-missing-permissions")
            await interaction.response.send_message(sentence, ephemeral=True)
            return False

        async def callback(self, interaction: discord.Interaction) -> None:
            """Do it, or say why not."""
            try:
                await press(interaction, self._action, self._job_id)
            except PerroquetError as exc:
                await _tell(interaction, say_refusal(catalogue, _locale(interaction), exc))
            except SQLAlchemyError as exc:
                log.warning("button_failed", error=type(exc).__name__)
                sentence = catalogue.say(_locale(interaction), "error-service-unavailable")
                await _tell(interaction, sentence)

    return BoardButton


def make_board_view(
    button: Callable[[Action, str, str], discord.ui.Item[Any]],
    actions: tuple[Action, ...],
    job_id: str,
    locale: str,
) -> discord.ui.View:
    """The buttons of one board, in order."""
    view = discord.ui.View(timeout=None)
    for action in actions:
        view.add_item(button(action, job_id, locale))
    # Presses are found by the custom id; a view that waited for them would only pile up.
    view.stop()
    return view


async def _tell(interaction: discord.Interaction, sentence: str) -> None:
    if interaction.response.is_done():
        await interaction.followup.send(sentence, ephemeral=True)
    else:
        await interaction.response.send_message(sentence, ephemeral=True)


def _locale(interaction: discord.Interaction) -> str:
    return locale_code(str(interaction.locale))

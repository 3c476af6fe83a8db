"""``/forget``: members own their words."""

from typing import Any

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.catalogue import Catalogue, LocaleCode, locale_code
from bot.errors import RoutedView
from bot.translation import text
from core.conversations.forgetting import Forgotten, forget_channel, forget_member
from core.db.desk import Desk

_TIMEOUT_SECONDS = 120.0


def make_privacy_cog(catalogue: Catalogue, desk: Desk) -> commands.Cog:
    """The cog; a function, because discord.py reads descriptions when the class is made."""

    class PrivacyCog(
        commands.GroupCog,
        group_name=text(catalogue, "command-forget-name"),
        group_description=text(catalogue, "command-forget"),
    ):
        """Deletes what was said, for good, after one question."""

        @app_commands.command(
            name=text(catalogue, "command-forget-me-name"),
            description=text(catalogue, "command-forget-me"),
        )
        async def me(self, interaction: discord.Interaction) -> None:
            """Forget what this member said in this server, or in direct messages."""
            author_id, guild_id = interaction.user.id, interaction.guild_id
            await ask(
                interaction,
                "forget-me-question",
                lambda session: forget_member(session, author_id, guild_id),
            )

        @app_commands.command(
            name=text(catalogue, "command-forget-channel-name"),
            description=text(catalogue, "command-forget-channel"),
        )
        @app_commands.guild_only()
        @app_commands.checks.has_permissions(manage_messages=True)
        async def channel(self, interaction: discord.Interaction) -> None:
            """Forget what was said in this channel."""
            channel_id = interaction.channel_id or 0
            await ask(
                interaction,
                "forget-channel-question",
                lambda session: forget_channel(session, channel_id),
            )

    async def ask(interaction: discord.Interaction, question: str, forget: Any) -> None:
        locale = locale_code(str(interaction.locale))
        view = ConfirmForgetting(catalogue, desk, locale, forget)
        await interaction.response.send_message(
            catalogue.say(locale, question), view=view, ephemeral=True
        )

    return PrivacyCog()


class ConfirmForgetting(RoutedView):
    """Forget, or leave it; only its asker sees it."""

    def __init__(self, catalogue: Catalogue, desk: Desk, locale: LocaleCode, forget: Any) -> None:
        super().__init__(catalogue, timeout=_TIMEOUT_SECONDS)
        self._desk = desk
        self._locale = locale
        self._forget = forget
        self._add("forget-confirm", discord.ButtonStyle.danger, self._confirm)
        self._add("forget-keep", discord.ButtonStyle.secondary, self._keep)

    def _add(self, key: str, style: discord.ButtonStyle, callback: Any) -> None:
        button: discord.ui.Button[Any] = discord.ui.Button(
            label=self._catalogue.say(self._locale, key), style=style
        )
        button.callback = callback  # type: ignore[method-assign]  # discord.py's own way
        self.add_item(button)

    async def _confirm(self, interaction: discord.Interaction) -> None:
        def work(session: Session) -> Forgotten:
            forgotten: Forgotten = self._forget(session)
            return forgotten

        await interaction.response.defer()
        forgotten = await self._desk.write(work)
        sentence = self._catalogue.say(self._locale, "forgotten", count=forgotten.messages)
        await interaction.edit_original_response(content=sentence, view=None)
        self.stop()

    async def _keep(self, interaction: discord.Interaction) -> None:
        sentence = self._catalogue.say(self._locale, "forget-kept")
        await interaction.response.edit_message(content=sentence, view=None)
        self.stop()

"""``/perroquet``: where the bot listens, and which language it speaks."""

from typing import Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.catalogue import Catalogue, LocaleCode, locale_code
from bot.chat.places import Places
from bot.settings.help import draw_help
from bot.settings.views import Undo
from bot.translation import text
from core.conversations.places import Place, set_listening, set_locale, set_teacher_role
from core.db.desk import Desk


def make_settings_cog(  # noqa: C901 - a cog's commands live in its class
    catalogue: Catalogue, desk: Desk, places: Places
) -> commands.Cog:
    """The cog; a function, because discord.py reads descriptions when the class is made."""

    class SettingsCog(
        commands.GroupCog,
        group_name="perroquet",
        group_description=text(catalogue, "command-perroquet"),
    ):
        """Settings of a channel and of a server."""

        @app_commands.command(
            name=text(catalogue, "command-here-name"), description=text(catalogue, "command-here")
        )
        @app_commands.guild_only()
        @app_commands.checks.has_permissions(manage_channels=True)
        async def here(self, interaction: discord.Interaction) -> None:
            """Answer every message of this channel."""
            await switch(interaction, is_listening=True)

        @app_commands.command(
            name=text(catalogue, "command-away-name"), description=text(catalogue, "command-away")
        )
        @app_commands.guild_only()
        @app_commands.checks.has_permissions(manage_channels=True)
        async def away(self, interaction: discord.Interaction) -> None:
            """Answer only who addresses the bot."""
            await switch(interaction, is_listening=False)

        @app_commands.command(
            name=text(catalogue, "command-language-name"),
            description=text(catalogue, "command-language"),
        )
        @app_commands.guild_only()
        @app_commands.checks.has_permissions(manage_guild=True)
        @app_commands.rename(language=text(catalogue, "option-language-name"))
        @app_commands.describe(language=text(catalogue, "option-language"))
        async def language(
            self, interaction: discord.Interaction, language: Literal["English", "Français"]
        ) -> None:
            """Choose the language in which the bot speaks of itself here."""
            chosen = locale_code("fr" if language == "Français" else "en")
            place, before = places.place_of(interaction), places.locale_of(interaction.guild)
            await interaction.response.defer(ephemeral=True)
            sentence = await speak(place, chosen)
            if chosen == before:
                await interaction.edit_original_response(content=sentence)
                return
            undo = Undo(catalogue, chosen, "manage_guild", lambda: speak(place, before))
            await interaction.edit_original_response(content=sentence, view=undo)

        @app_commands.command(
            name=text(catalogue, "command-teachers-name"),
            description=text(catalogue, "command-teachers"),
        )
        @app_commands.guild_only()
        @app_commands.checks.has_permissions(manage_guild=True)
        @app_commands.rename(role=text(catalogue, "option-teachers-role-name"))
        @app_commands.describe(role=text(catalogue, "option-teachers-role"))
        async def teachers(
            self, interaction: discord.Interaction, role: discord.Role | None = None
        ) -> None:
            """Choose a role whose members may teach and choose models."""
            locale, place = locale_code(str(interaction.locale)), places.place_of(interaction)
            await interaction.response.defer(ephemeral=True)
            role_id = None if role is None else role.id
            before = await desk.write(lambda session: set_teacher_role(session, place, role_id))

            async def take_back() -> str:
                await desk.write(lambda session: set_teacher_role(session, place, before))
                return remember(before)

            def remember(chosen: int | None) -> str:
                places.remember_teacher_role(place.guild_id or 0, chosen)
                if chosen is None:
                    return catalogue.say(locale, "teachers-none")
                return catalogue.say(locale, "teachers-chosen", role=f"<@&{chosen}>")

            undo = Undo(catalogue, locale, "manage_guild", take_back)
            await interaction.edit_original_response(content=remember(role_id), view=undo)

        @app_commands.command(
            name=text(catalogue, "command-help-name"), description=text(catalogue, "command-help")
        )
        async def help(self, interaction: discord.Interaction) -> None:
            """Say what the bot can do for who asks."""
            embed = draw_help(catalogue, places, interaction)
            await interaction.response.send_message(embed=embed, ephemeral=True)

    async def switch(interaction: discord.Interaction, *, is_listening: bool) -> None:
        locale = locale_code(str(interaction.locale))
        place = places.place_of(interaction)
        await interaction.response.defer()
        has_changed = await desk.write(
            lambda session: set_listening(session, place, is_listening=is_listening)
        )
        places.remember_listening(place.channel_id, is_listening=is_listening)
        state = "on" if is_listening else "off"
        if not has_changed:
            sentence = catalogue.say(locale, f"listening-already-{state}")
            await interaction.edit_original_response(content=sentence)
            return

        async def take_back() -> str:
            await desk.write(
                lambda session: set_listening(session, place, is_listening=not is_listening)
            )
            places.remember_listening(place.channel_id, is_listening=not is_listening)
            return catalogue.say(locale, f"listening-{'off' if is_listening else 'on'}")

        undo = Undo(catalogue, locale, "manage_channels", take_back)
        await interaction.edit_original_response(
            content=catalogue.say(locale, f"listening-{state}"), view=undo
        )

    async def speak(place: Place, locale: LocaleCode) -> str:
        await desk.write(lambda session: set_locale(session, place, locale))
        places.remember_locale(place.guild_id or 0, locale)
        return catalogue.say(locale, "language-chosen")

    return SettingsCog()

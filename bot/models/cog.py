"""``/models``: what there is, who answers, and back again. Translates and delegates."""

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.catalogue import Catalogue, LocaleCode, locale_code
from bot.chat.places import Places
from bot.finetune.intake import slug
from bot.models.comparer import Comparer
from bot.models.confirming import Confirm
from bot.models.drawing import draw_list, draw_version, label_of
from bot.models.exporter import Exporter
from bot.translation import text
from core.catalog.choices import Reach, choose, roll_back
from core.catalog.finding import find_version, search_versions
from core.catalog.lineage import base_of
from core.catalog.registry import CatalogEntry, list_versions
from core.catalog.renaming import rename_model
from core.catalog.resolution import resolve_version
from core.catalog.retiring import retire_version
from core.conversations.places import Place, open_place
from core.db.desk import Desk
from core.errors import NotFoundError

_MOST_CHOICES = 25
_MOST_CHARACTERS = 100


def make_models_cog(  # noqa: C901 - a cog's commands live in its class
    catalogue: Catalogue,
    desk: Desk,
    places: Places,
    comparer: Comparer,
    exporter: Exporter,
    default_model: str,
) -> commands.Cog:
    """The cog; a function, because discord.py reads descriptions when the class is made."""
    where_name = text(catalogue, "option-models-where-name")
    where_hint = text(catalogue, "option-models-where")
    model_name = text(catalogue, "option-models-model-name")
    model_hint = text(catalogue, "option-models-model")
    wheres = [
        app_commands.Choice(name=text(catalogue, f"models-where-{where}"), value=where)
        for where in ("channel", "server")
    ]

    @app_commands.guild_only()
    @app_commands.default_permissions(manage_guild=True)
    class ModelsCog(
        commands.GroupCog,
        group_name=text(catalogue, "command-models-name"),
        group_description=text(catalogue, "command-models"),
    ):
        """What admins do with models. Every command asks again for the permission."""

        async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
            """Only who may teach."""
            places.require_teacher(interaction)
            return True

        @app_commands.command(
            name=text(catalogue, "command-models-list-name"),
            description=text(catalogue, "command-models-list"),
        )
        async def list_models(self, interaction: discord.Interaction) -> None:
            """Show all models that this server may use."""
            await interaction.response.defer(ephemeral=True)
            guild_id, channel_id = _guild(interaction).id, interaction.channel_id

            def read(session: Session) -> tuple[list[CatalogEntry], str | None]:
                answering = resolve_version(session, guild_id, channel_id, default_model)
                return list_versions(session, guild_id), answering

            entries, answering = await desk.read(read)
            embed = draw_list(catalogue, _locale(interaction), entries, answering)
            await interaction.followup.send(embed=embed, ephemeral=True)

        @app_commands.command(
            name=text(catalogue, "command-models-show-name"),
            description=text(catalogue, "command-models-show"),
        )
        @app_commands.rename(model=model_name)
        @app_commands.describe(model=model_hint)
        async def show(self, interaction: discord.Interaction, model: str) -> None:
            """Show one version."""
            await interaction.response.defer(ephemeral=True)
            guild_id = _guild(interaction).id

            def read(session: Session) -> tuple[CatalogEntry, CatalogEntry | None]:
                entry = find_version(session, guild_id, model)
                return entry, base_of(session, guild_id, entry)

            entry, base = await desk.read(read)
            embed = draw_version(catalogue, _locale(interaction), entry, base)
            await interaction.followup.send(embed=embed, ephemeral=True)

        @app_commands.command(
            name=text(catalogue, "command-models-use-name"),
            description=text(catalogue, "command-models-use"),
        )
        @app_commands.rename(model=model_name, where=where_name)
        @app_commands.describe(model=model_hint, where=where_hint)
        @app_commands.choices(where=wheres)
        async def use(
            self,
            interaction: discord.Interaction,
            model: str,
            where: app_commands.Choice[str] | None = None,
        ) -> None:
            """Have a version answer in this channel or on this server."""
            await interaction.response.defer()
            place, scope = places.place_of(interaction), _scope(interaction, where)

            def write(session: Session) -> CatalogEntry:
                open_place(session, place)
                entry = find_version(session, scope.guild_id, model)
                return choose(session, scope, entry.version_id, interaction.user.id)

            entry = await desk.write(write)
            await _announce(interaction, place, scope, entry)

        @app_commands.command(
            name=text(catalogue, "command-models-rollback-name"),
            description=text(catalogue, "command-models-rollback"),
        )
        @app_commands.rename(where=where_name)
        @app_commands.describe(where=where_hint)
        @app_commands.choices(where=wheres)
        async def rollback(
            self,
            interaction: discord.Interaction,
            where: app_commands.Choice[str] | None = None,
        ) -> None:
            """Go back to who answered before."""
            await interaction.response.defer()
            place, scope = places.place_of(interaction), _scope(interaction, where)
            entry = await desk.write(lambda session: roll_back(session, scope, interaction.user.id))
            await _announce(interaction, place, scope, entry)

        @app_commands.command(
            name=text(catalogue, "command-models-delete-name"),
            description=text(catalogue, "command-models-delete"),
        )
        @app_commands.rename(model=model_name)
        @app_commands.describe(model=model_hint)
        async def delete(self, interaction: discord.Interaction, model: str) -> None:
            """Delete one of this server's own versions, after a question."""
            await interaction.response.defer(ephemeral=True)
            guild_id, locale = _guild(interaction).id, _locale(interaction)
            entry = await desk.read(lambda session: find_version(session, guild_id, model))

            async def retire() -> str:
                gone = await desk.write(
                    lambda session: retire_version(session, guild_id, entry.version_id)
                )
                return catalogue.say(locale, "models-deleted", model=gone.model, number=gone.number)

            question = catalogue.say(
                locale, "models-delete-question", model=entry.model, number=entry.number
            )
            view = Confirm(
                catalogue, locale, "models-delete-confirm", places.require_teacher, retire
            )
            await interaction.followup.send(question, view=view, ephemeral=True)

        @app_commands.command(
            name=text(catalogue, "command-models-compare-name"),
            description=text(catalogue, "command-models-compare"),
        )
        @app_commands.rename(model=model_name, other=text(catalogue, "option-models-other-name"))
        @app_commands.describe(model=model_hint, other=text(catalogue, "option-models-other"))
        async def compare(
            self, interaction: discord.Interaction, model: str, other: str | None = None
        ) -> None:
            """Ask two versions the same question; the first stands on the right."""

            def find(session: Session, guild_id: int) -> tuple[CatalogEntry, CatalogEntry]:
                entry = find_version(session, guild_id, model)
                if other is not None:
                    return find_version(session, guild_id, other), entry
                return require_base(session, guild_id, entry), entry

            await comparer.ask(interaction, find)

        @app_commands.command(
            name=text(catalogue, "command-models-rename-name"),
            description=text(catalogue, "command-models-rename"),
        )
        @app_commands.rename(model=model_name, name=text(catalogue, "option-models-name-name"))
        @app_commands.describe(model=model_hint, name=text(catalogue, "option-models-name"))
        async def rename(
            self,
            interaction: discord.Interaction,
            model: str,
            name: app_commands.Range[str, 1, 60],
        ) -> None:
            """Give one of this server's own models another name."""
            await interaction.response.defer(ephemeral=True)
            guild_id, locale = _guild(interaction).id, _locale(interaction)
            new_name = slug(name)

            def write(session: Session) -> str:
                before = find_version(session, guild_id, model).model
                rename_model(session, guild_id, before, new_name)
                return before

            before = await desk.write(write)
            sentence = catalogue.say(locale, "models-renamed", before=before, after=new_name)
            await interaction.followup.send(sentence, ephemeral=True)

        @app_commands.command(
            name=text(catalogue, "command-models-export-name"),
            description=text(catalogue, "command-models-export"),
        )
        @app_commands.rename(model=model_name)
        @app_commands.describe(model=model_hint)
        async def export(self, interaction: discord.Interaction, model: str) -> None:
            """Send the files of one of this server's own versions."""
            await exporter.send(
                interaction, lambda session, guild_id: find_version(session, guild_id, model)
            )

        @use.autocomplete("model")
        @show.autocomplete("model")
        @compare.autocomplete("model")
        @compare.autocomplete("other")
        async def complete(
            self, interaction: discord.Interaction, current: str
        ) -> list[app_commands.Choice[str]]:
            """The versions that this server may use."""
            return await _suggest(interaction, current, own_only=False)

        @delete.autocomplete("model")
        @rename.autocomplete("model")
        @export.autocomplete("model")
        async def complete_own(
            self, interaction: discord.Interaction, current: str
        ) -> list[app_commands.Choice[str]]:
            """The versions that are this server's own."""
            return await _suggest(interaction, current, own_only=True)

    async def _suggest(
        interaction: discord.Interaction, typed: str, *, own_only: bool
    ) -> list[app_commands.Choice[str]]:
        guild_id = interaction.guild_id
        if guild_id is None or not places.may_teach(interaction):
            return []
        entries = await desk.read(
            lambda session: search_versions(session, guild_id, typed, own_only=own_only)
        )
        return [
            app_commands.Choice(
                name=label_of(catalogue, _locale(interaction), entry)[:_MOST_CHARACTERS],
                value=entry.version_id,
            )
            for entry in entries[:_MOST_CHOICES]
        ]

    async def _announce(
        interaction: discord.Interaction, place: Place, scope: Reach, entry: CatalogEntry | None
    ) -> None:
        """Tell everybody who answers from now on, in the language of the server."""
        suffix = "server" if scope.channel_id is None else "here"
        if entry is None:
            sentence = catalogue.say(place.locale, f"models-default-{suffix}")
        else:
            sentence = catalogue.say(
                place.locale, f"models-used-{suffix}", model=entry.model, number=entry.number
            )
        await interaction.followup.send(sentence)

    return ModelsCog()


def require_base(session: Session, guild_id: int, entry: CatalogEntry) -> CatalogEntry:
    """What a version was made from.

    Raises:
        NotFoundError: it was made from nothing, or that is gone.
    """
    base = base_of(session, guild_id, entry)
    if base is None:
        raise NotFoundError(f"“{entry.model}” {entry.number} has no base.", model=entry.model)
    return base


def _guild(interaction: discord.Interaction) -> discord.Guild:
    if interaction.guild is None:
        raise app_commands.NoPrivateMessage
    return interaction.guild


def _scope(interaction: discord.Interaction, where: app_commands.Choice[str] | None) -> Reach:
    on_server = where is not None and where.value == "server"
    return Reach(_guild(interaction).id, None if on_server else interaction.channel_id)


def _locale(interaction: discord.Interaction) -> LocaleCode:
    return locale_code(str(interaction.locale))

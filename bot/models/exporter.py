"""A version's files as an upload, for who wants to load it elsewhere."""

import asyncio
import io
from collections.abc import Callable

import discord
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.catalogue import Catalogue, locale_code
from core.catalog.exporting import Export, VersionFiles
from core.catalog.lineage import base_of
from core.catalog.registry import CatalogEntry
from core.db.desk import Desk
from core.db.tables import Version
from core.errors import NotFoundError

FindOne = Callable[[Session, int], CatalogEntry]


class Exporter:
    """Hands on versions that are a guild's own."""

    def __init__(self, desk: Desk, files: VersionFiles, catalogue: Catalogue) -> None:
        self._desk = desk
        self._files = files
        self._catalogue = catalogue

    async def send(self, interaction: discord.Interaction, find: FindOne) -> None:
        """Send the files of a version to who asked, and to nobody else.

        Args:
            interaction: not answered yet.
            find: the version that the guild of the given id wants.

        Raises:
            NotFoundError: ``find`` found none, or it is not the asking guild's own.
            TooLargeToSendError: it does not fit.
            StoreError, ServiceUnavailableError: it cannot be read.
            SQLAlchemyError: the database cannot be reached.
        """
        await interaction.response.defer(ephemeral=True, thinking=True)
        guild_id = interaction.guild_id
        if guild_id is None:
            raise NotFoundError("There are no versions to hand on outside servers.")

        def read(session: Session) -> tuple[CatalogEntry, str, CatalogEntry | None]:
            entry = find(session, guild_id)
            if entry.guild_id != guild_id:
                raise NotFoundError(
                    "Only a server's own versions are handed on.", model=entry.model
                )
            query = select(Version.manifest_sha256).where(Version.id == entry.version_id)
            return entry, session.scalars(query).one(), base_of(session, guild_id, entry)

        entry, sha256, base = await self._desk.read(read)
        export = await asyncio.to_thread(
            self._files.export, entry.store_path, sha256, interaction.filesize_limit
        )
        await interaction.followup.send(
            self._describe(interaction, entry, base, export),
            files=[discord.File(io.BytesIO(f.content), f.name) for f in export.files],
            ephemeral=True,
        )

    def _describe(
        self,
        interaction: discord.Interaction,
        entry: CatalogEntry,
        base: CatalogEntry | None,
        export: Export,
    ) -> str:
        locale = locale_code(str(interaction.locale))
        lines = [
            self._catalogue.say(locale, "export-files", model=entry.model, number=entry.number)
        ]
        if base is not None:
            kind = "adapter" if entry.metrics.get("method") == "lora" else "whole"
            lines.append(self._catalogue.say(locale, f"export-{kind}", base=base.model))
        if export.is_halved:
            lines.append(self._catalogue.say(locale, "export-halved"))
        return "\n".join(lines)

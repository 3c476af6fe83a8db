"""Versions as people name them, within the wall of their guild."""

from sqlalchemy.orm import Session

from core.catalog.registry import CatalogEntry, list_versions
from core.errors import NotFoundError
from core.jobs.finding import ALL_GUILDS


def find_version(session: Session, guild_id: int | None, wanted: str) -> CatalogEntry:
    """The living version that a person means.

    Args:
        session: an open transaction.
        guild_id: who asks; its own models go before the operator's of the same name. None is the
            operator, who sees only those.
        wanted: an id, or a model's name with or without a version's number behind it; without
            one the newest is meant.

    Raises:
        NotFoundError: the guild sees no such version.
    """
    named = _meant(list_versions(session, guild_id), wanted)
    if not named:
        raise NotFoundError(f"There is no model “{wanted}”.", model=wanted)
    return max(named, key=lambda entry: (entry.guild_id is not None, entry.number))


def guilds_with(session: Session, wanted: str) -> list[int]:
    """The guilds that have a version of their own which a person may mean; for the operator."""
    named = _meant(list_versions(session, ALL_GUILDS), wanted)
    return sorted({entry.guild_id for entry in named if entry.guild_id is not None})


def _meant(entries: list[CatalogEntry], wanted: str) -> list[CatalogEntry]:
    """The version with this id, or those that are called so."""
    exact = [entry for entry in entries if entry.version_id == wanted]
    if exact:
        return exact
    name, _, number = wanted.strip().lower().rpartition(" ")
    named = [e for e in entries if name and e.model == name and str(e.number) == number]
    return named or [e for e in entries if e.model == wanted.strip().lower()]


def search_versions(
    session: Session, guild_id: int, typed: str, *, own_only: bool = False
) -> list[CatalogEntry]:
    """The living versions whose model's name holds what is typed, the newest of each model first.

    Args:
        session: an open transaction.
        guild_id: who asks.
        typed: the beginning of a search; empty finds everything.
        own_only: without the operator's models.
    """
    found = [
        entry
        for entry in list_versions(session, guild_id)
        if typed.strip().lower() in f"{entry.model} {entry.number}"
        and not (own_only and entry.guild_id is None)
    ]
    return sorted(found, key=lambda e: (e.guild_id is None, e.model, -e.number))

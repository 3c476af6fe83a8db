"""SQL: reachable, at the right revision, and with the time that this host has."""

import time
from collections.abc import Callable

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from cli.doctor.findings import Finding, failed, ok, warning
from core.db.clock import epoch_now
from core.db.engines import is_missing_file, make_engine, reading
from core.settings import mask_url
from migrations.runner import current_revision, newest_revision

_MOST_SKEW_SECONDS = 2.0


def open_existing(url: str) -> Engine | None:
    """An engine; None for an SQLite file that is not there, which looking at it would make.

    Raises:
        SettingsError: the URL names no database that Perroquet speaks to.
    """
    return None if is_missing_file(url) else make_engine(url, pool_size=1)


def check_database(engine: Engine | None, url: str) -> Finding:
    """Whether the database answers with the schema that this Perroquet needs."""
    shown = mask_url(url)
    if engine is None:
        return warning("database", f"{shown} is not there yet", "perroquet migrate")
    try:
        current = current_revision(engine)
    except SQLAlchemyError as exc:
        return failed(
            "database",
            f"{shown} cannot be used: {_reason(exc)}",
            "Start it, or correct DATABASE_URL: host, port, user, password, database.",
        )
    newest = newest_revision()
    if current == newest:
        return ok("database", f"{engine.dialect.name} at revision {current}, the newest")
    if current is None:
        return failed("database", f"{shown} was never migrated", "perroquet migrate")
    # Revisions are numbered in their order.
    if current > newest:
        return failed(
            "database",
            f"is at revision {current}, which is newer than this Perroquet",
            "Upgrade Perroquet on this host to the version that migrated the database.",
        )
    return failed(
        "database", f"is at revision {current}, but {newest} is needed", "perroquet migrate"
    )


def check_clock(engine: Engine, now: Callable[[], float] = time.time) -> Finding:
    """Whether this host's clock agrees with the database's, by which leases are kept."""
    before = now()
    with reading(engine).connect() as connection:
        theirs = connection.scalar(select(epoch_now())) or 0.0
    skew = (before + now()) / 2 - theirs
    said = f"{skew:+.2f} s from the database's"
    if abs(skew) > _MOST_SKEW_SECONDS:
        return failed(
            "clock", said, "Keep all hosts on time: sudo timedatectl set-ntp true, or chrony."
        )
    return ok("clock", said)


def _reason(exc: SQLAlchemyError) -> str:
    lines = str(getattr(exc, "orig", None) or type(exc).__name__).strip().splitlines()
    return lines[0] if lines else type(exc).__name__

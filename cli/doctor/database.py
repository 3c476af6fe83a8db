"""SQL: reachable, at the right revision, and with the time that this host has."""

import time
from collections.abc import Callable

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from cli.doctor.findings import Finding, failed, ok, reason_of, warning
from core.db.clock import epoch_now
from core.db.engines import is_missing_file, make_engine, reading
from core.settings import mask_url
from migrations.runner import current_revision, newest_revision

_MOST_SKEW_SECONDS = 2.0
_ON_STARTING = (
    "make up and perroquet up make it; for parts that are started one by one: perroquet migrate"
)


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
        return warning("database", f"{shown} is not there yet", _ON_STARTING)
    try:
        current, encryption = current_revision(engine), _say_encryption(engine)
    except SQLAlchemyError as exc:
        reason = _reason(exc)
        return failed("database", f"{shown} cannot be used: {reason}", _how_to_reach(reason))
    newest = newest_revision()
    if current == newest:
        said = f"{engine.dialect.name} at revision {current}, the newest"
        return ok("database", said + encryption)
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


def _how_to_reach(reason: str) -> str:
    # What libpq says of all that can be wrong with TLS has one of these words in it.
    if any(word in reason for word in ("SSL", "certificate")):
        return (
            "Correct sslmode and sslrootcert in DATABASE_URL, or the server's certificate: it must "
            "be signed by that root, for the host that the URL names. Public roots are in "
            "/etc/ssl/certs/ca-certificates.crt on most hosts."
        )
    return "Start it, or correct DATABASE_URL: host, port, user, password, database."


def _say_encryption(engine: Engine) -> str:
    """Whether what is said to PostgreSQL can be read on its way; nothing of what has no way."""
    with reading(engine).connect() as connection:
        told = getattr(connection.connection.driver_connection, "pgconn", None)
        if told is None or told.host.startswith(b"/"):
            return ""
        return ", over TLS" if told.ssl_in_use else ", not encrypted"


def _reason(exc: SQLAlchemyError) -> str:
    return reason_of(getattr(exc, "orig", None) or exc)

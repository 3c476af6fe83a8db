"""Bring a database to the newest schema, from Python, and refuse to run on another."""

from functools import cache
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from core.db.engines import is_missing_file, make_engine, reading
from core.errors import ServiceUnavailableError

log = structlog.get_logger(__name__)

_FOLDER = Path(__file__).parent


class SchemaNewerError(ServiceUnavailableError):
    """The database was migrated by a newer Perroquet than this one."""

    code = "schema-newer"


class SchemaOlderError(ServiceUnavailableError):
    """The database lacks migrations that this Perroquet needs, or all of them."""

    code = "schema-older"


def migrate(engine: Engine, revision: str = "head") -> None:
    """Run the migrations that are due. Bounded: it waits 10 s for locks, not for ever.

    Raises:
        SchemaNewerError: the database has a revision that this Perroquet does not know.
    """
    config = _config()
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET lock_timeout = '10s'"))
            # Two hosts that start together migrate one after the other.
            connection.execute(text("SELECT pg_advisory_lock(7063927)"))
        _refuse_unknown(current_revision(engine))
        config.attributes["connection"] = connection
        if revision == "base":
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
        connection.commit()
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_unlock(7063927)"))


def check_at_start(url: str) -> None:
    """Refuse to start a process on a schema that is not the one it was written for.

    A database that does not answer is waited for by whoever uses it, so nothing is refused then.

    Raises:
        SchemaNewerError, SchemaOlderError: as for :func:`require_schema`.
        SettingsError: the URL names no database that Perroquet speaks to.
    """
    if is_missing_file(url):
        # Looking into it would make it.
        raise _never_migrated()
    engine = make_engine(url, pool_size=1)
    try:
        require_schema(engine)
    except SQLAlchemyError as exc:
        log.warning("schema_not_checked", error=type(exc).__name__)
    finally:
        engine.dispose()


def require_schema(engine: Engine) -> None:
    """Whether the database has the schema that this Perroquet needs.

    Raises:
        SchemaNewerError: the database has a revision that this Perroquet does not know.
        SchemaOlderError: migrations are due.
    """
    current = current_revision(engine)
    if current == newest_revision():
        return
    _refuse_unknown(current)
    if current is None:
        raise _never_migrated()
    raise SchemaOlderError(
        f"The database is at revision {current}, but {newest_revision()} is needed; run "
        "`perroquet migrate`.",
        service="database",
        revision=current,
    )


def current_revision(engine: Engine) -> str | None:
    """The revision that the database is at; None where it is empty."""
    with reading(engine).connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def is_empty_file(engine: Engine) -> bool:
    """Whether this is an SQLite file without a table. Looking makes one that is missing."""
    return engine.dialect.name == "sqlite" and not inspect(reading(engine)).get_table_names()


@cache
def newest_revision() -> str:
    """The revision that this Perroquet needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None  # noqa: S101 - a package without migrations is broken
    return head


def _refuse_unknown(current: str | None) -> None:
    scripts = ScriptDirectory.from_config(_config()).walk_revisions()
    if current is not None and current not in {script.revision for script in scripts}:
        raise SchemaNewerError(
            f"The database is at revision {current}, which this version does not know; "
            "upgrade Perroquet on this host.",
            service="database",
            revision=current,
        )


def _never_migrated() -> SchemaOlderError:
    return SchemaOlderError(
        "The database was never migrated; run `perroquet migrate`.", service="database"
    )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    return config

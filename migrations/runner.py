"""Bring a database to the newest schema, from Python."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from core.errors import PerroquetError

_FOLDER = Path(__file__).parent


class SchemaNewerError(PerroquetError):
    """The database was migrated by a newer Perroquet than this one."""

    code = "schema-newer"


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
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        current = current_revision(engine)
        if current is not None and current not in known:
            raise SchemaNewerError(
                f"The database is at revision {current}, which this version does not know; "
                "upgrade Perroquet on this host.",
                revision=current,
            )
        config.attributes["connection"] = connection
        if revision == "base":
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
        connection.commit()
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_unlock(7063927)"))


def current_revision(engine: Engine) -> str | None:
    """The revision that the database is at; None where it is empty."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str:
    """The revision that this Perroquet needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None  # noqa: S101 - a package without migrations is broken
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    return config

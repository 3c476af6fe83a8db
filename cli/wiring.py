"""What the commands have in common: settings, the database, the store."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

from core.db.engines import is_missing_file, make_engine
from core.errors import NotFoundError, ServiceUnavailableError, SettingsError
from core.logging import configure_logging
from core.settings import Settings, load_settings, mask_url
from models_store.store import ModelStore


def read_settings() -> Settings:
    """The settings of this call, from the environment and ``perroquet.toml``.

    Raises:
        SettingsError: a key is unknown or its value is out of range.
    """
    settings = load_settings(os.environ)
    # What a command has to say it says itself; the log is left with what went wrong.
    configure_logging(settings.log.model_copy(update={"level": "warning"}), process="cli")
    return settings


def make_data_dir(settings: Settings) -> None:
    """Make the data folder; it holds what members said, so it is its owner's alone.

    Raises:
        SettingsError: it cannot be made or written.
    """
    folder = settings.data_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise SettingsError(
            f"The data folder {folder} cannot be made: {exc.strerror}.", key="data_dir"
        ) from exc
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"The data folder {folder} cannot be written.", key="data_dir")


def open_store(settings: Settings) -> ModelStore:
    """The model store that the settings name."""
    return ModelStore(settings.store_url, settings.cache_dir, settings.store.cache_max_bytes)


@contextmanager
def open_installation(settings: Settings) -> Iterator[Engine]:
    """The database of commands that look at what is there: like :func:`open_database`, but a
    folder without an installation is said to be one, and left as it is.

    Raises:
        NotFoundError: nothing was ever installed here.
        ServiceUnavailableError: as for :func:`open_database`.
    """
    if is_missing_file(settings.database_url):
        raise NotFoundError(
            f"There is no installation here: {settings.data_dir.resolve()} has no database. Go to "
            "its folder, name it by PERROQUET_DATA_DIR or DATABASE_URL, or begin one with "
            "`perroquet up`."
        )
    with open_database(settings) as engine:
        yield engine


@contextmanager
def open_database(settings: Settings) -> Iterator[Engine]:
    """The database at the schema that this Perroquet needs, for as long as the context lasts.

    One that holds rows is never migrated here: processes of another version may use it. An SQLite
    file that is missing or empty is made, since nothing is lost by that.

    Raises:
        ServiceUnavailableError: the database cannot be reached or read, now or within the context,
            or has another schema; the message says what to do.
    """
    from migrations.runner import is_empty_file, migrate, require_schema

    make_data_dir(settings)
    with connected(settings) as engine:
        if is_empty_file(engine):
            migrate(engine)
        require_schema(engine)
        yield engine


@contextmanager
def open_migrated(settings: Settings) -> Iterator[Engine]:
    """The database, brought to the newest schema where it is not there yet.

    Raises:
        SchemaNewerError: the database has a revision that this Perroquet does not know.
        ServiceUnavailableError: as for :func:`connected`.
    """
    from migrations.runner import current_revision, migrate, newest_revision

    make_data_dir(settings)
    with connected(settings) as engine:
        if current_revision(engine) != newest_revision():
            migrate(engine)
        yield engine


@contextmanager
def connected(settings: Settings) -> Iterator[Engine]:
    """The database as it is, whatever its schema.

    Raises:
        ServiceUnavailableError: it cannot be reached or read within the context.
    """
    engine = make_engine(settings.database_url, pool_size=settings.database.pool_size)
    try:
        yield engine
    except DatabaseError as exc:
        reason = str(exc.orig).strip().splitlines()[0] if exc.orig else type(exc).__name__
        raise ServiceUnavailableError(
            f"The database {mask_url(settings.database_url)} cannot be used: {reason}",
            service="database",
        ) from exc
    finally:
        engine.dispose()

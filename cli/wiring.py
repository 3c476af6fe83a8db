"""What the commands have in common: settings, a migrated database, the store."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from core.db.engines import make_engine
from core.settings import Settings, load_settings
from models_store.store import ModelStore


def read_settings() -> Settings:
    """The settings of this call, from the environment and ``perroquet.toml``."""
    return load_settings(os.environ)


def open_store(settings: Settings) -> ModelStore:
    """The model store that the settings name."""
    return ModelStore(settings.store_url, settings.cache_dir, settings.store.cache_max_bytes)


@contextmanager
def open_database(settings: Settings) -> Iterator[Engine]:
    """The database at the newest schema, for as long as the context lasts."""
    from migrations.runner import current_revision, migrate, newest_revision

    settings.data_dir.mkdir(parents=True, exist_ok=True)
    engine = make_engine(settings.database_url, pool_size=settings.database.pool_size)
    try:
        if current_revision(engine) != newest_revision():
            migrate(engine)
        yield engine
    finally:
        engine.dispose()

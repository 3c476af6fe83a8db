"""A database in which the configured model is ready, for runs whose engine needs no weights."""

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from core.catalog.registry import StoredVersion, register_version
from migrations.runner import migrate


def prepare_database(engine: Engine, model: str) -> None:
    """Migrate a database and name a model in it that has no weights.

    Args:
        engine: of the database.
        model: what the model is called.
    """
    migrate(engine)
    with Session(engine) as session, session.begin():
        register_version(
            session,
            model=model,
            guild_id=None,
            source="bench",
            stored=StoredVersion("models/trivial/1", "0" * 64, 0, {}),
        )

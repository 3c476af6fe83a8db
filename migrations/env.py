"""Alembic's entry: runs migrations on the connection handed in, or on the settings' database."""

import os

from alembic import context
from sqlalchemy import Connection

from core.db.engines import make_engine
from core.db.tables import Base
from core.settings import load_settings


def run(connection: Connection) -> None:
    """Run the migrations that are due on an open connection."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        # SQLite alters tables by rebuilding them.
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


connection = context.config.attributes.get("connection")
if connection is not None:
    run(connection)
else:
    with make_engine(load_settings(os.environ).database_url).connect() as opened:
        run(opened)
        opened.commit()

"""What the comparison of models and migrations by Alembic leaves out: checks, parts of indexes."""

import pytest
from sqlalchemy import Connection, create_engine, inspect, text

from core.db.tables import Base


def test_checks_and_indexes_are_those_that_the_code_declares(any_engine, tmp_path):
    with any_engine.connect() as migrated:
        if migrated.dialect.name == "postgresql":
            migrated.execute(text("CREATE SCHEMA fresh"))
            migrated.execute(text("SET search_path TO fresh"))
            Base.metadata.create_all(migrated, checkfirst=False)
            assert describe(migrated, "public") == describe(migrated, "fresh")
            return
        engine = create_engine(f"sqlite:///{tmp_path / 'fresh.db'}")
        with engine.connect() as fresh:
            Base.metadata.create_all(fresh)
            assert describe(migrated) == describe(fresh)
        engine.dispose()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE jobs DROP CONSTRAINT ck_jobs_counts",
        "DROP INDEX ix_jobs_owed; "
        "CREATE INDEX ix_jobs_owed ON jobs (dispatched_at, id) WHERE state = 'running'",
    ],
)
def test_the_comparison_sees_a_check_that_is_missing_and_an_index_of_other_rows(
    postgresql_url, change
):
    engine = create_engine(postgresql_url.replace("postgresql:", "postgresql+psycopg:", 1))
    with engine.connect() as connection:
        before = describe(connection, "public")
        connection.execute(text(change))
        assert describe(connection, "public") != before
    engine.dispose()


def describe(connection: Connection, schema: str | None = None) -> dict[str, object]:
    inspector = inspect(connection)
    inspector.clear_cache()
    return {
        table: (
            sorted(
                (check["name"], " ".join(check["sqltext"].split()))
                for check in inspector.get_check_constraints(table, schema)
            ),
            sorted(
                (
                    index["name"],
                    index["column_names"],
                    bool(index["unique"]),
                    str(sorted(where_of(index))),
                )
                for index in inspector.get_indexes(table, schema)
            ),
            sorted(
                (c["name"], str(c["type"]), c["nullable"])
                for c in inspector.get_columns(table, schema)
            ),
        )
        for table in Base.metadata.tables
    }


def where_of(index):
    options = index.get("dialect_options", {})
    return [str(value) for name, value in options.items() if name.endswith("_where")]

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from core.db.engines import make_engine
from core.db.tables import Base
from migrations.runner import (
    SchemaNewerError,
    SchemaOlderError,
    check_at_start,
    current_revision,
    migrate,
    newest_revision,
    require_schema,
)


def test_migrations_make_the_schema_that_the_code_expects(any_engine):
    with any_engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    assert current_revision(any_engine) == newest_revision()


def test_migrations_go_down_and_up_again(any_engine):
    migrate(any_engine, "base")
    assert set(inspect(any_engine).get_table_names()) <= {"alembic_version"}
    migrate(any_engine)
    assert "jobs" in inspect(any_engine).get_table_names()


def test_a_schema_of_a_newer_perroquet_is_refused(engine):
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaNewerError, match="9999"):
        migrate(engine)


def test_no_process_starts_on_a_schema_that_is_not_its_own(any_engine):
    require_schema(any_engine)
    migrate(any_engine, "base")
    migrate(any_engine, "0001")
    with pytest.raises(SchemaOlderError, match=r"at revision 0001.*perroquet migrate"):
        require_schema(any_engine)
    with any_engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaNewerError, match=r"9999.*upgrade"):
        require_schema(any_engine)


def test_an_empty_database_is_refused_at_the_start_and_not_made(tmp_path):
    file = tmp_path / "x.db"
    for make in (lambda: None, file.touch):
        make()
        with pytest.raises(SchemaOlderError, match=r"never migrated.*perroquet migrate"):
            check_at_start(f"sqlite:///{file}")
        assert file.exists() == (make == file.touch)


def test_a_database_that_is_away_is_no_reason_not_to_start():
    check_at_start("postgresql://u:hush@127.0.0.1:1/d")


def test_migrating_twice_changes_nothing(tmp_path):
    engine = make_engine(f"sqlite:///{tmp_path / 'x.db'}")
    migrate(engine)
    migrate(engine)
    assert current_revision(engine) == newest_revision()
    engine.dispose()


def test_an_older_database_learns_new_kinds_of_jobs_and_loses_no_row(any_engine):
    migrate(any_engine, "base")
    migrate(any_engine, "0001")
    insert = text(
        "INSERT INTO jobs (id, kind, state, requester_id, priority, payload, token, crashes, "
        "cancel_requested, created_at) "
        "VALUES (:id, :kind, 'queued', 1, 0, 'null', 0, 0, false, 1.0)"
    )
    event = "INSERT INTO job_events (job_id, at, type, data) VALUES ('a', 1.0, 'x', 'null')"
    with any_engine.begin() as connection:
        connection.execute(insert, {"id": "a", "kind": "generate"})
        connection.execute(text(event))
    with any_engine.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(insert, {"id": "b", "kind": "validate"})
    migrate(any_engine)
    with any_engine.begin() as connection:
        connection.execute(insert, {"id": "b", "kind": "validate"})
        assert connection.scalar(text("SELECT count(*) FROM job_events")) == 1
    with any_engine.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(insert, {"id": "c", "kind": "dance"})

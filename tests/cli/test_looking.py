"""Commands that look at what is there leave its schema as it is; what starts may migrate it."""

import pytest
from sqlalchemy import text

from cli.chat.running import running
from cli.up.screen import Screen
from core.db.engines import make_engine
from core.errors import ServiceUnavailableError
from core.settings import load_settings
from migrations.runner import current_revision, migrate, newest_revision
from tests.cli.running import perroquet


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "list"),
        ("models", "verify"),
        ("models", "remove", "coco", "--yes"),
        ("jobs", "list"),
        ("jobs", "show", "x"),
        ("top", "--once"),
    ],
)
def test_a_folder_without_an_installation_is_said_to_be_one(
    monkeypatch, capsys, tmp_path, arguments
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERROQUET_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    result = perroquet(monkeypatch, capsys, *arguments)
    assert (result.code, result.out) == (1, "")
    assert "There is no installation here" in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def older(monkeypatch, tmp_path):
    """A database in the data folder, at an older schema."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERROQUET_DATA_DIR", str(tmp_path / "data"))
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    engine = make_engine(f"sqlite:///{tmp_path / 'data' / 'perroquet.db'}")
    migrate(engine, "0001")
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "list"),
        ("models", "add", "smollm2"),
        ("models", "remove", "coco", "--yes"),
        ("jobs", "list"),
        ("top", "--once"),
        ("finetune", "corpus.txt", "--name", "coco"),
    ],
)
def test_a_command_refuses_an_older_schema_as_workers_do(older, monkeypatch, capsys, arguments):
    result = perroquet(monkeypatch, capsys, *arguments)
    assert (result.code, result.out) == (3, "")
    assert result.err == (
        f"The database is at revision 0001, but {newest_revision()} is needed; run "
        "`perroquet migrate`.\n"
    )
    assert current_revision(older) == "0001"


def test_migrate_brings_an_older_schema_up_and_commands_go_on(older, monkeypatch, capsys):
    assert perroquet(monkeypatch, capsys, "migrate").code == 0
    assert current_revision(older) == newest_revision()
    assert perroquet(monkeypatch, capsys, "jobs", "list").code == 0


def test_a_database_that_somebody_else_filled_is_refused(older, monkeypatch, capsys):
    migrate(older, "base")
    result = perroquet(monkeypatch, capsys, "jobs", "list")
    assert (result.code, "never migrated; run `perroquet migrate`" in result.err) == (3, True)
    with older.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    # Without a table nothing can be lost.
    assert perroquet(monkeypatch, capsys, "jobs", "list").code == 0


@pytest.mark.parametrize("is_own", [True, False])
def test_chat_and_generate_migrate_the_data_folder_but_no_database_of_ones_own(
    older, tmp_path, is_own
):
    variables = {"PERROQUET_DATA_DIR": str(tmp_path / "data"), "REDIS_URL": "redis://127.0.0.1:1"}
    if is_own:
        variables["DATABASE_URL"] = older.url.render_as_string()
    settings = load_settings(variables, tmp_path / "none")
    with pytest.raises(ServiceUnavailableError, match="migrate" if is_own else "not answer"):
        running(settings, Screen()).__enter__()
    assert current_revision(older) == ("0001" if is_own else newest_revision())

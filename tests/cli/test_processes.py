"""What a single process says before it starts anything."""

from functools import partial

import pytest

from cli.processes import run_bot, run_worker
from core.errors import SettingsError
from migrations.runner import SchemaOlderError


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERROQUET_DATA_DIR", str(tmp_path / "data"))
    for name in ("DISCORD_TOKEN", "DISCORD_TOKEN_FILE", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


def test_a_bot_without_anything_is_told_of_both_settings_at_once():
    with pytest.raises(SettingsError, match="no DISCORD_TOKEN and no REDIS_URL"):
        run_bot()


def test_no_process_starts_on_a_database_that_was_never_migrated(monkeypatch, valkey):
    monkeypatch.setenv("REDIS_URL", valkey.url)
    monkeypatch.setenv("DISCORD_TOKEN", "secret-token")
    for run in (run_bot, *(partial(run_worker, kind) for kind in ("generate", "upkeep"))):
        with pytest.raises(SchemaOlderError, match="perroquet migrate"):
            run()


def test_a_bot_that_has_its_token_and_a_worker_are_told_of_redis_alone(monkeypatch):
    monkeypatch.setenv("DISCORD_TOKEN", "secret-token")
    for run in (run_bot, lambda: run_worker("upkeep")):
        with pytest.raises(SettingsError, match="There is no REDIS_URL") as caught:
            run()
        assert "TOKEN" not in str(caught.value)

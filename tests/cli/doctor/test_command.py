import json
from functools import partial

import pytest
from sqlalchemy.orm import Session

from cli.doctor.findings import Verdict
from core.db.engines import make_engine
from core.jobs.presence import announce
from tests.cli.running import perroquet
from tests.core.corpora.helpers import add_version


@pytest.fixture
def doctor(monkeypatch, capsys, tmp_path, database_url, valkey):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERROQUET_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", valkey.url)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("DISCORD_TOKEN", raising=False)
    return partial(perroquet, monkeypatch, capsys, "doctor")


def test_a_sound_installation_ends_with_0(doctor, database_url):
    engine = make_engine(database_url)
    from importlib.metadata import version

    info = {"version": version("perroquet"), "host": "h"}
    with Session(engine) as session, session.begin():
        for kind in ("bot", "generate", "finetune", "upkeep"):
            announce(session, f"{kind}-1", kind, info)
    engine.dispose()
    result = doctor("--json")
    report = json.loads(result.out)
    found = {check["check"]: check["verdict"] for check in report["checks"]}
    assert (result.code, report["healthy"]) == (0, True)
    for check in ("Python", "PyTorch", "Redis", "Redis eviction", "database", "clock", "processes"):
        assert found[check] == "ok", check
    assert (found["store"], found["versions"], found["Discord"]) == ("ok", "ok", "skipped")


def test_a_store_that_is_not_where_the_versions_are_is_warned_of(doctor, database_url, tmp_path):
    engine = make_engine(database_url)
    add_version(engine, "coco")
    engine.dispose()
    checks = json.loads(doctor("--json").out)["checks"]
    (store,) = (check for check in checks if check["check"] == "store")
    assert (store["verdict"], "not there" in store["said"]) == (Verdict.WARNING, True)
    assert not (tmp_path / "data" / "store").exists()


def test_every_failure_has_a_fix_and_ends_with_1(doctor, monkeypatch, tmp_path):
    from core.embedded import free_port

    file = tmp_path / "x.db"
    file.write_text("no database" * 200)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{file}")
    monkeypatch.setenv("REDIS_URL", f"redis://:hush@127.0.0.1:{free_port()}/0")
    monkeypatch.setenv("STORE_URL", f"file://{file}")
    monkeypatch.setenv("DISCORD_TOKEN", "secret-token")
    monkeypatch.setenv("PERROQUET_DISCORD__API_BASE", f"http://127.0.0.1:{free_port()}")
    result = doctor("--json")
    report = json.loads(result.out)
    assert (result.code, report["healthy"]) == (1, False)
    bad = [check for check in report["checks"] if check["verdict"] == Verdict.FAILED]
    assert {check["check"] for check in bad} == {"Redis", "database", "store", "Discord"}
    assert all(check["fix"] for check in bad)
    page = doctor()
    assert page.code == 1
    assert page.out.count("→") >= len(bad)
    for secret in ("hush", "secret-token"):
        assert secret not in page.out + result.out


def test_settings_that_cannot_be_read_are_a_wrong_usage(doctor, monkeypatch):
    monkeypatch.setenv("PERROQUET_COLOUR", "red")
    assert doctor().code == 2


def test_a_database_that_was_never_migrated_says_how(doctor, monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'empty.db'}")
    (tmp_path / "empty.db").touch()
    result = doctor()
    assert (result.code, "perroquet migrate" in result.out) == (1, True)


@pytest.mark.parametrize("url", ["nonsense", "postgresql://u:p@127.0.0.1:port/d"])
def test_a_database_url_of_no_form_is_one_finding_among_others(doctor, monkeypatch, url):
    monkeypatch.setenv("DATABASE_URL", url)
    result = doctor("--json")
    found = {check["check"]: check for check in json.loads(result.out)["checks"]}
    assert (result.code, found["database"]["verdict"]) == (1, "failed")
    assert "postgresql://user:password@host" in found["database"]["said"]
    assert "SQLAlchemy" not in result.out
    assert found["store"]["verdict"] == "ok"

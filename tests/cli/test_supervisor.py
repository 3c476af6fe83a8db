import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from cli.up.children import ChildSpec, start_child
from cli.up.plan import make_plan
from cli.up.readiness import wait_until
from cli.up.supervisor import Supervisor, run_supervised
from core.errors import ServiceUnavailableError, SettingsError
from core.settings import load_settings


def spec(tmp_path, code, name="child", stop_seconds=5.0):
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return ChildSpec(name, command, dict(os.environ), tmp_path / f"{name}.log", stop_seconds)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123
        return file.read().split()[2] != "Z"


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_child_that_will_not_end_is_killed_with_its_own_children(tmp_path):
    code = """
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(child.pid, flush=True)
        time.sleep(60)
    """
    child = start_child(spec(tmp_path, code, stop_seconds=0.3))
    wait_for(lambda: child.spec.log_file.read_text().strip())
    grandchild = int(child.spec.log_file.read_text())
    assert child.stop() is False
    wait_for(lambda: not is_alive(grandchild))


def test_a_child_does_not_outlive_a_parent_that_was_killed(tmp_path):
    code = f"""
        import sys, time
        sys.path.insert(0, {str(Path.cwd())!r})
        from pathlib import Path
        from cli.up.children import ChildSpec, start_child
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        child = start_child(ChildSpec("x", command, {{}}, Path({str(tmp_path)!r}) / "x.log"))
        print(child.process.pid, flush=True)
        time.sleep(60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())
    assert is_alive(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not is_alive(pid))


def test_a_child_that_ends_at_once_is_told_with_its_last_words(tmp_path):
    child = start_child(spec(tmp_path, "import sys; sys.exit('no such parrot')"))
    with pytest.raises(ServiceUnavailableError, match="no such parrot"):
        wait_until(child, lambda: False, 10)


def test_a_child_that_dies_is_started_again(tmp_path, engine, monkeypatch):
    settings = load_settings({"REDIS_URL": "redis://x"}, tmp_path / "none")
    said: list[str] = []
    supervisor = Supervisor(settings, make_plan(settings, ()), engine, said.append)
    monkeypatch.setattr(supervisor, "end_on_signals", lambda: None)
    child = start_child(spec(tmp_path, "import time; time.sleep(60)"))
    first = child.process.pid
    monkeypatch.setattr(supervisor, "start", lambda: supervisor.children.append(child))

    def announce():
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: child.has_ended)
        supervisor._revive(child)
        supervisor.ended.set()

    run_supervised(supervisor, announce)
    assert child.process.pid != first
    assert child.has_ended
    assert "starting it again" in said[0]


def test_the_token_goes_to_the_bot_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("DISCORD_TOKEN", "hush")
    variables = {"DISCORD_TOKEN": "hush", "REDIS_URL": "redis://x"}
    settings = load_settings(variables, tmp_path / "none")
    plan = make_plan(settings, ("generate", "upkeep", "bot", "playground"))
    assert plan.playground is None
    for child in plan.others:
        assert ("DISCORD_TOKEN" in child.environment) == (child.name == "bot")
        assert "hush" not in " ".join(child.command)


def test_without_a_token_the_bot_is_led_to_the_playground(tmp_path):
    settings = load_settings({"PERROQUET_PLAYGROUND__PORT": "0"}, tmp_path / "none")
    plan = make_plan(settings, ("bot", "playground"))
    assert plan.valkey is not None
    (bot,) = plan.others
    assert bot.environment["PERROQUET_DISCORD__API_BASE"].startswith(plan.page_url)


def test_a_taken_port_is_named(tmp_path):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        settings = load_settings({"PERROQUET_PLAYGROUND__PORT": port}, tmp_path / "none")
        with pytest.raises(SettingsError, match=port):
            make_plan(settings, ("playground",))

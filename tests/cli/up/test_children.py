import subprocess
import sys
import textwrap
from pathlib import Path

from cli.up import children
from cli.up.children import start_child
from tests.cli.processes import SLEEP, is_alive, spec, wait_for


def test_a_child_is_killed_with_its_own_children(tmp_path):
    code = """
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(child.pid, flush=True)
        time.sleep(60)
    """
    child = start_child(spec(tmp_path, code))
    wait_for(lambda: child.spec.log_file.read_text().strip())
    grandchild = int(child.spec.log_file.read_text())
    child.terminate()
    child.kill()
    assert child.has_ended
    wait_for(lambda: not is_alive(grandchild))


def test_a_child_does_not_outlive_a_parent_that_was_killed(tmp_path):
    code = f"""
        import sys, time
        sys.path.insert(0, {str(Path.cwd())!r})
        from pathlib import Path
        from tests.cli.processes import spec
        from cli.up.children import start_child
        print(start_child(spec(Path({str(tmp_path)!r}))).process.pid, flush=True)
        time.sleep(60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())
    # Past the leash, it is the command itself that must be tied to its parent.
    wait_for(lambda: b"leash" not in Path(f"/proc/{pid}/cmdline").read_bytes())
    assert is_alive(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not is_alive(pid))


def test_a_child_is_the_command_itself_in_a_group_of_its_own(tmp_path):
    code = "import os; print(os.getpid(), os.getpgid(0), sorted(os.environ), flush=True)"
    child = start_child(spec(tmp_path, code, environment={"ONLY": "this"}))
    child.process.wait()
    pid, group, *names = child.spec.log_file.read_text().split(maxsplit=2)
    assert int(pid) == int(group) == child.process.pid
    assert "ONLY" in names[0]
    assert "HOME" not in names[0]


def test_how_a_child_ended_is_said(tmp_path):
    child = start_child(spec(tmp_path, "import sys; sys.exit(3)"))
    child.process.wait()
    assert child.ending == "ended with exit code 3"
    child.restart()
    assert child.restarts == 1
    other = start_child(spec(tmp_path, SLEEP, "other"))
    assert other.ending == "runs"
    other.kill()
    assert other.ending == "was ended by SIGKILL"
    child.kill()


def test_a_long_log_is_set_aside_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(children, "_LOG_MAX_BYTES", 10)
    (tmp_path / "child.log").write_text("much of the past\n")
    child = start_child(spec(tmp_path, "print('now')"))
    child.process.wait()
    child.kill()
    assert child.spec.log_file.read_text() == "now\n"
    assert (tmp_path / "child.old.log").read_text() == "much of the past\n"


def test_the_log_of_a_child_that_runs_for_months_stays_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(children, "_LOG_MAX_BYTES", 10)
    code = f"""
        import pathlib, time
        print("much of the past", flush=True)
        while not pathlib.Path({str(tmp_path / "go")!r}).exists():
            time.sleep(0.02)
        print("now", flush=True)
        time.sleep(60)
    """
    child = start_child(spec(tmp_path, code))
    log_file = child.spec.log_file
    wait_for(lambda: "past" in log_file.read_text())
    child.bound_log()
    assert log_file.read_text() == ""
    (tmp_path / "go").touch()
    wait_for(log_file.read_text)
    child.bound_log()
    child.kill()
    assert log_file.read_text() == "now\n"
    assert (tmp_path / "child.old.log").read_text() == "much of the past\n"
    assert sorted(file.name for file in tmp_path.glob("*.log")) == ["child.log", "child.old.log"]

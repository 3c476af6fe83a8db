import io
import os
import signal
import threading
import time

import pytest

from cli.up import supervisor as module
from cli.up.readiness import ChildFailedError
from cli.up.screen import Screen
from cli.up.supervisor import Service, Supervisor, run_supervised
from core.errors import SettingsError
from tests.cli.processes import is_alive, spec, wait_for

IGNORES_SIGTERM = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", flush=True)
    time.sleep(60)
"""


def has_written(child):
    return child.spec.log_file.read_text() != ""


@pytest.fixture
def said():
    return io.StringIO()


@pytest.fixture
def supervise(said):
    made = []

    def make(*services):
        supervisor = Supervisor(services, Screen(said))
        made.append(supervisor)
        return supervisor

    yield make
    for supervisor in made:
        supervisor.hurried.set()
        supervisor.stop()


@pytest.fixture
def signals_restored():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_lower_rank_is_ready_before_a_higher_one_starts(tmp_path, supervise, said):
    said_hello = "import time; time.sleep(0.2); print('hello', flush=True); time.sleep(60)"
    first = Service(spec(tmp_path, said_hello, "first"), has_written, start_rank=0)
    second = Service(spec(tmp_path, name="second"), lambda _: True, start_rank=1)
    supervise(second, first).start()
    lines = [line.split(" after ")[0] for line in said.getvalue().splitlines()]
    assert lines == ["Starting first", "first is ready", "Starting second", "second is ready"]


def test_a_child_that_ends_at_once_is_told_with_its_last_words(tmp_path, supervise):
    dying = spec(tmp_path, "import sys; sys.exit('no such parrot')")
    with pytest.raises(ChildFailedError, match=r"exit code 1\. It says: no such parrot") as raised:
        supervise(Service(dying, lambda _: False)).start()
    assert str(dying.log_file) in str(raised.value)


def test_a_child_that_is_never_ready_is_told(tmp_path, supervise, monkeypatch):
    monkeypatch.setattr(module, "_START_SECONDS", 0.2)
    with pytest.raises(ChildFailedError, match="not ready in time"):
        supervise(Service(spec(tmp_path), lambda _: False)).start()


def test_a_child_that_waits_for_discord_holds_up_nobody(tmp_path, supervise, said, monkeypatch):
    monkeypatch.setattr(module, "_ELSEWHERE_SECONDS", 0.2)
    online = threading.Event()
    bot = Service(spec(tmp_path, name="bot"), lambda _: online.is_set(), waits_for="Discord")
    supervisor = supervise(bot)
    supervisor.start()
    assert "it waits for Discord, and goes on trying" in " ".join(said.getvalue().split())
    assert not supervisor.children[0].has_ended
    online.set()
    supervisor.look()
    assert "bot is back" in said.getvalue()


def test_a_first_start_that_fails_is_mended_once(tmp_path, supervise, said):
    obstacle = tmp_path / "obstacle"
    obstacle.touch()
    code = f"""
        import os, sys, time
        if os.path.exists({str(obstacle)!r}): sys.exit(1)
        print("up", flush=True)
        time.sleep(60)
    """

    def mend():
        obstacle.unlink()
        return "took the obstacle away"

    supervise(Service(spec(tmp_path, code), has_written, mend=mend)).start()
    assert "took the obstacle away" in said.getvalue()


def test_what_cannot_be_mended_is_tried_no_third_time(tmp_path, supervise):
    mended = []

    def mend():
        mended.append(1)
        return "tried"

    dying = spec(tmp_path, "import sys; sys.exit(1)")
    with pytest.raises(ChildFailedError):
        supervise(Service(dying, lambda _: False, mend=mend)).start()
    assert mended == [1]


def test_a_child_that_dies_is_started_again_and_said_to_be_back(tmp_path, supervise, said):
    supervisor = supervise(Service(spec(tmp_path), lambda child: not child.has_ended))
    supervisor.start()
    (child,) = supervisor.children
    first = child.process.pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: child.has_ended)
    assert "SIGKILL" in supervisor.find_failure()
    supervisor.look()
    supervisor.look()
    assert child.process.pid != first
    assert "was ended by SIGKILL; starting it again now" in said.getvalue()
    assert "child is back" in said.getvalue()
    assert supervisor.find_failure() is None


def test_a_child_that_keeps_dying_is_waited_for_longer_each_time(tmp_path, supervise, said):
    supervisor = supervise(Service(spec(tmp_path, "import sys; sys.exit(1)"), lambda _: True))
    supervisor.start()
    (child,) = supervisor.children
    for _ in range(2):
        wait_for(lambda: child.has_ended)
        supervisor.look()
    wait_for(lambda: child.has_ended)
    supervisor.look()
    assert child.restarts == 1
    assert "again in 1 s" in said.getvalue()


def test_a_child_that_refuses_the_settings_is_no_service_that_is_away(tmp_path, supervise):
    code = "import sys; print('No such device.', flush=True); sys.exit(2)"
    with pytest.raises(SettingsError, match="No such device"):
        supervise(Service(spec(tmp_path, code), lambda _child: False)).start()


def test_warnings_of_a_log_reach_the_console(tmp_path, supervise, said):
    code = """
        import time
        print("2026-01-01 [info     ] calm", flush=True)
        print("2026-01-01 [warning  ] storm", flush=True)
        time.sleep(60)
    """
    supervisor = supervise(Service(spec(tmp_path, code), has_written))
    supervisor.start()
    wait_for(lambda: "storm" in supervisor.children[0].spec.log_file.read_text())
    supervisor.look()
    assert "child: 2026-01-01 [warning  ] storm" in said.getvalue()
    assert "calm" not in said.getvalue()


def test_children_end_in_the_order_of_their_ranks(tmp_path, supervise):
    order = tmp_path / "order"
    code = """
        import signal, sys, time
        def end(*_):
            with open({order!r}, "a") as file: file.write({name!r} + " ")
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        print("up", flush=True)
        time.sleep(60)
    """
    services = [
        Service(
            spec(tmp_path, code.format(order=str(order), name=name), name),
            has_written,
            stop_rank=rank,
        )
        for name, rank in (("server", 2), ("bot", 0), ("worker", 1))
    ]
    supervisor = supervise(*services)
    supervisor.start()
    supervisor.stop()
    assert order.read_text().split() == ["bot", "worker", "server"]


def test_a_child_that_will_not_end_is_killed_after_its_bound(tmp_path, supervise, said):
    deaf = spec(tmp_path, IGNORES_SIGTERM, stop_seconds=0.3)
    supervisor = supervise(Service(deaf, has_written))
    supervisor.start()
    pid = supervisor.children[0].process.pid
    supervisor.stop()
    assert not is_alive(pid)
    assert "child had to be killed" in said.getvalue()


def test_a_second_signal_waits_for_nothing(tmp_path, supervise, signals_restored):
    deaf = spec(tmp_path, IGNORES_SIGTERM, stop_seconds=60)
    supervisor = supervise(Service(deaf, has_written))
    announced = threading.Event()

    def interrupt_twice():
        announced.wait(20)
        os.kill(os.getpid(), signal.SIGINT)
        supervisor.ended.wait(20)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt_twice)
    thread.start()
    began = time.monotonic()
    run_supervised(supervisor, announced.set)
    thread.join()
    assert time.monotonic() - began < 20
    assert supervisor.children[0].has_ended


def test_a_signal_while_starting_ends_what_was_started(tmp_path, supervise, signals_restored):
    announcements = []
    signalled = []

    def is_ready(child):
        if not signalled:
            signalled.append(child)
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    never = Service(spec(tmp_path, name="late"), lambda _: True, start_rank=1)
    supervisor = supervise(Service(spec(tmp_path), is_ready), never)
    run_supervised(supervisor, lambda: announcements.append(1))
    assert announcements == []
    assert [child.spec.name for child in supervisor.children] == ["child"]
    assert supervisor.children[0].has_ended

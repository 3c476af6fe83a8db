"""The trainer as a real child process."""

import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workers.finetuning import run as run_module
from workers.finetuning.errors import DivergedError
from workers.finetuning.events import EventWriter, parse_event
from workers.finetuning.run import EXIT_CANCELLED, EXIT_FAILED, EXIT_PAUSED
from workers.finetuning.spec import RunSpec
from workers.finetuning.supervisor import TrainerProcess
from workers.finetuning.wishes import InterruptedRunError, Wish, Wishes

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}


class Boss:
    """Wishes for things when the run has come to a step."""

    def __init__(self, run_dir, at_step: int = -1, wish: Wish | None = None, act=None) -> None:
        self.events = []
        self._at_step = at_step
        self._wish = wish
        self._act = act
        self.wanted: Wish | None = None
        self.process = TrainerProcess(
            run_dir, self.hear, environment=ENVIRONMENT, poll_seconds=0.02
        )

    def hear(self, event) -> None:
        self.events.append(event)
        if event["event"] == "step" and event["step"] == self._at_step:
            self.wanted = self._wish
            if self._act is not None:
                self._act()

    def run(self):
        return self.process.run(lambda: self.wanted)


def metrics_of(recorder):
    metrics = recorder.of("finished")[0]["metrics"]
    return {key: value for key, value in metrics.items() if key != "train_seconds"}


# Two trainers start one after the other, each in seconds that a busy machine makes many.
@pytest.mark.timeout(300)
def test_paused_and_killed_a_run_still_ends_as_if_undisturbed(
    tmp_path, tiny_gpt2_folder, make_spec, run
):
    spec = make_spec(tiny_gpt2_folder, max_steps=12, evaluate_every=4, save_every=2)
    undisturbed = run(spec, folder="whole")
    folder = tmp_path / "parted"
    spec.write(folder)

    boss = Boss(folder, at_step=3, act=lambda: _signal_children(signal.SIGTERM))
    paused = boss.run()
    assert (paused.ending, paused.exit_code) == ("paused", EXIT_PAUSED)
    assert boss.events[-2]["event"] == "checkpointed"
    assert boss.events[-2]["step"] == paused.event["step"]
    assert all(parse_event(json.dumps(event)) for event in boss.events)

    killing_step = paused.event["step"] + 4
    boss = Boss(folder, at_step=killing_step, act=lambda: _signal_children(signal.SIGKILL))
    killed = boss.run()
    assert (killed.ending, killed.exit_code) == ("died", -signal.SIGKILL)
    assert boss.events[0]["step"] == paused.event["step"]

    # Here, to save a start; it finds what the other two left.
    finished = run(spec, folder="parted")
    assert finished.of("started")[0]["step"] >= paused.event["step"]
    assert metrics_of(finished) == metrics_of(undisturbed)


def test_a_trainer_stands_back_behind_answers(tmp_path):
    """The lock is held, so the child waits while it is looked at."""
    (tmp_path / "spec.json").write_text("{}")
    found = set()
    with (tmp_path / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)

        def look() -> None:
            found.update(os.getpriority(os.PRIO_PROCESS, pid) for pid in _trainers())
            if found:
                fcntl.flock(stream, fcntl.LOCK_UN)

        process = TrainerProcess(
            tmp_path, lambda _event: None, nice=3, environment=ENVIRONMENT, poll_seconds=0.05
        )
        assert process.run(look).ending == "failed"
    assert found == {min(19, os.getpriority(os.PRIO_PROCESS, 0) + 3)}


def _children() -> list[int]:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in path.read_text().split()]


def _trainers() -> list[int]:
    """The children of this process with that command."""
    return [
        pid
        for pid in _children()
        if b"workers.finetuning.run" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def _signal_children(number: int) -> None:
    for pid in _trainers():
        os.kill(pid, number)


PARENT = """
import subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-m", "workers.finetuning.run", sys.argv[1]],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_the_child_ends_when_its_parent_is_killed(tmp_path):
    """The lock is held, so the child would wait for ever."""
    (tmp_path / "spec.json").write_text("{}")
    with (tmp_path / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=ENVIRONMENT, text=True,
        )  # fmt: skip
        with parent:
            pid = int(parent.stdout.readline())
            assert _is_alive(pid)
            parent.kill()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and _is_alive(pid):
            time.sleep(0.02)
        assert not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_bad_option_fails_with_its_reason_before_torch_is_imported(tmp_path):
    (tmp_path / "spec.json").write_text('{"base_model": "b", "corpus": "c", "epochs": -1}')
    outcome = Boss(tmp_path).run()
    assert (outcome.ending, outcome.exit_code) == ("failed", EXIT_FAILED)
    assert outcome.event["code"] == "training-option"
    assert outcome.event["data"] == {"option": "epochs"}


def test_a_listener_that_raises_takes_the_child_down_with_it(tmp_path):
    def refuse(event) -> None:
        raise LookupError(event["event"])

    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(LookupError):
        TrainerProcess(tmp_path, refuse, environment=ENVIRONMENT).run(lambda: None)
    assert not any(b"finetuning" in Path(f"/proc/{p}/cmdline").read_bytes() for p in _children())


@pytest.mark.parametrize(
    ("wish", "grace_seconds"), [(Wish.PAUSE, 0.3), pytest.param(Wish.CANCEL, 400.0, id="cancel")]
)
def test_a_child_that_does_not_obey_is_killed_after_its_grace(
    tmp_path, monkeypatch, wish, grace_seconds
):
    """The lock is held, so the child waits and hears nothing of the wish."""
    monkeypatch.setattr("workers.finetuning.supervisor._CANCEL_SECONDS", 0.3)
    (tmp_path / "spec.json").write_text("{}")
    with (tmp_path / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        process = TrainerProcess(
            tmp_path,
            lambda _: None,
            environment=ENVIRONMENT,
            grace_seconds=grace_seconds,
            poll_seconds=0.05,
        )
        outcome = process.run(lambda: wish)
    assert (outcome.ending, outcome.exit_code) == ("died", -signal.SIGKILL)


def test_errors_become_events_and_exit_codes(tmp_path, monkeypatch):
    def play(error: Exception) -> tuple[int, dict]:
        def fail(*_):
            raise error

        monkeypatch.setattr("workers.finetuning.training.fine_tune", fail)
        RunSpec(base_model="b", corpus="c").write(tmp_path)
        out = io.StringIO()
        code = run_module._run(tmp_path, EventWriter(out), Wishes())
        return code, json.loads(out.getvalue())

    code, event = play(InterruptedRunError(Wish.CANCEL, 4))
    assert (code, event["event"], event["step"]) == (EXIT_CANCELLED, "cancelled", 4)
    code, event = play(DivergedError("It diverged.", step=3))
    assert (code, event["code"], event["data"]) == (EXIT_FAILED, "training-diverged", {"step": 3})
    code, event = play(KeyError("x"))
    assert (code, event["code"]) == (EXIT_FAILED, "internal")


def test_wishes_come_as_lines_and_the_end_of_input_ends_the_process(monkeypatch):
    ended: list[int] = []
    monkeypatch.setattr(run_module.os, "_exit", ended.append)
    wishes = Wishes()
    run_module._listen(io.StringIO("dance\nstop\n"), wishes)
    assert wishes.current is Wish.STOP
    assert ended == [EXIT_PAUSED]


def test_nothing_takes_a_cancellation_back():
    wishes = Wishes()
    wishes.want(Wish.STOP)
    wishes.want(Wish.CANCEL)
    wishes.want(Wish.PAUSE)
    assert wishes.current is Wish.CANCEL


def test_events_are_lines_of_json_without_infinities(tmp_path):
    path = tmp_path / "events"
    with path.open("w") as stream:
        EventWriter(stream)("evaluated", step=1, loss=float("nan"), nested=[float("inf"), 2.0])
    event = parse_event(path.read_text())
    assert event is not None
    assert (event["loss"], event["nested"]) == (None, [None, 2.0])
    for noise in ("", "Loading weights: 100%", '{"event": "party"}', "3", json.dumps([1])):
        assert parse_event(noise) is None

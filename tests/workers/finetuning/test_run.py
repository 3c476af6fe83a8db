"""The trainer as a real child process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workers.finetuning.events import EventWriter, parse_event
from workers.finetuning.run import EXIT_CANCELLED, EXIT_FAILED, EXIT_PAUSED
from workers.finetuning.spec import RunSpec
from workers.finetuning.supervisor import TrainerProcess
from workers.finetuning.wishes import Wish, Wishes

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


@pytest.fixture
def run_dir(tmp_path, tiny_gpt2_folder, make_spec):
    folder = tmp_path / "run"
    make_spec(tiny_gpt2_folder, max_steps=400, evaluate_every=200).write(folder)
    return folder


def metrics_of(outcome):
    drop = ("train_seconds",)
    return {key: value for key, value in outcome.event["metrics"].items() if key not in drop}


def test_paused_and_killed_a_run_still_ends_as_if_undisturbed(
    tmp_path, tiny_gpt2_folder, make_spec, run
):
    spec = make_spec(tiny_gpt2_folder, max_steps=12, evaluate_every=4, save_every=2)
    undisturbed = run(spec, folder="whole").of("finished")[0]["metrics"]
    folder = tmp_path / "parted"
    spec.write(folder)
    paused = Boss(folder, at_step=3, wish=Wish.PAUSE).run()
    assert (paused.ending, paused.exit_code) == ("paused", EXIT_PAUSED)
    pids = [int(line) for line in _children()]

    def kill() -> None:
        for pid in set(map(int, _children())) - set(pids):
            os.kill(pid, signal.SIGKILL)

    killed = Boss(folder, at_step=paused.event["step"] + 4, act=kill).run()
    assert (killed.ending, killed.exit_code) == ("died", -signal.SIGKILL)
    boss = Boss(folder)
    finished = boss.run()
    assert finished.ending == "finished"
    assert boss.events[0]["event"] == "started"
    assert boss.events[0]["step"] > 0
    expected = {key: value for key, value in undisturbed.items() if key != "train_seconds"}
    assert metrics_of(finished) == expected


def _children() -> list[str]:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return path.read_text().split()


def test_sigterm_leaves_a_checkpoint_and_code_75(run_dir):
    child = subprocess.Popen(
        [sys.executable, "-m", "workers.finetuning.run", str(run_dir)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=ENVIRONMENT, text=True,
    )  # fmt: skip
    with child:
        for line in child.stdout:
            event = parse_event(line)
            assert event is not None, f"no event: {line}"
            if event["event"] == "step":
                break
        child.send_signal(signal.SIGTERM)
        rest = [parse_event(line) for line in child.stdout]
        assert child.wait(30) == EXIT_PAUSED
    assert rest[-1]["event"] == "paused"
    assert rest[-2] == {
        "event": "checkpointed",
        "time": rest[-2]["time"],
        "step": rest[-1]["step"],
        "folder": f"checkpoint-{rest[-1]['step']}",
    }


def test_cancelling_ends_the_child_and_publishes_nothing(run_dir):
    outcome = Boss(run_dir, at_step=1, wish=Wish.CANCEL).run()
    assert (outcome.ending, outcome.exit_code) == ("cancelled", EXIT_CANCELLED)
    assert not (run_dir / "published").exists()


PARENT = """
import subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-m", "workers.finetuning.run", sys.argv[1]],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def test_the_child_ends_when_its_parent_is_killed(run_dir):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(run_dir)], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env=ENVIRONMENT, text=True,
    )  # fmt: skip
    with parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _is_alive(pid):
        time.sleep(0.02)
    assert not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_run_that_cannot_begin_fails_with_its_reason(tmp_path):
    folder = tmp_path / "run"
    RunSpec(base_model=str(tmp_path), corpus=str(tmp_path), device="cpu").write(folder)
    outcome = Boss(folder).run()
    assert (outcome.ending, outcome.exit_code) == ("failed", EXIT_FAILED)
    assert outcome.event["code"] == "model-unreadable"
    assert outcome.event["message"].endswith(".")


def test_a_listener_that_raises_takes_the_child_down_with_it(run_dir):
    def refuse(event) -> None:
        raise LookupError(event["event"])

    began = time.monotonic()
    with pytest.raises(LookupError):
        TrainerProcess(run_dir, refuse, environment=ENVIRONMENT).run(lambda: None)
    assert time.monotonic() - began < 60
    assert not _children()


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

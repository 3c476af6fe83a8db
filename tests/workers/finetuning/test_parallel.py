"""Two real processes that train one model, over gloo on the CPU."""

import subprocess
import sys

import pytest
import torch

from tests.workers.finetuning.test_run import ENVIRONMENT
from workers.finetuning import supervisor, training
from workers.finetuning.errors import OutOfMemoryError
from workers.finetuning.parallel import is_first, share
from workers.finetuning.shrinking import Shrinkage, read_note
from workers.finetuning.supervisor import TrainerProcess


def train_together(folder, spec):
    """What two processes say while they train to the end, and the last of it."""
    spec.write(folder)
    events = []
    process = TrainerProcess(folder, events.append, processes=2, environment=ENVIRONMENT)
    outcome = process.run(lambda: None)
    assert outcome.ending == "finished", outcome.log_tail
    return events, outcome.event


def losses(events):
    """The loss of each step."""
    return {one["step"]: one["loss"] for one in events if one["event"] == "step"}


@pytest.mark.timeout(900)
def test_two_processes_learn_what_one_would(tmp_path, tiny_llama_folder, make_spec, run):
    # All eight rows in each step: how they are shuffled and parted changes no sum. Llama has no
    # dropout, whose dice would differ.
    options = {"max_steps": 3, "evaluate_every": 3, "block_size": 256, "batch_size": 8}
    alone = run(make_spec(tiny_llama_folder, micro_batch_size=4, **options), folder="alone")
    spec = make_spec(tiny_llama_folder, micro_batch_size=4, processes=2, **options)
    events, finished = train_together(tmp_path / "together", spec)
    assert [one["event"] for one in events if one["event"] not in {"step", "measured"}] == [
        "evaluated", "sampled", "started", "evaluated", "sampled", "checkpointed", "finished",
    ]  # fmt: skip
    assert losses(events) == pytest.approx(alone.losses, rel=1e-4)
    expected = alone.of("finished")[0]["metrics"]["tuned"]["validation"]
    assert finished["metrics"]["tuned"]["validation"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.timeout(900)
def test_processes_of_which_one_has_little_memory_begin_again_with_smaller_steps(
    tmp_path, tiny_llama_folder, make_spec, run, monkeypatch
):
    monkeypatch.setattr(supervisor, "_MODULE", "tests.workers.finetuning.scarce_memory")
    options = {"max_steps": 2, "evaluate_every": 2, "block_size": 256, "batch_size": 4}
    alone = run(make_spec(tiny_llama_folder, micro_batch_size=2, **options), folder="alone")
    spec = make_spec(tiny_llama_folder, micro_batch_size=2, processes=2, **options)
    events, _ = train_together(tmp_path / "together", spec)
    (shrunk,) = (one for one in events if one["event"] == "shrunk")
    assert (shrunk["micro_batch_size"], shrunk["accumulation"]) == (1, 2)
    assert losses(events) == pytest.approx(alone.losses, rel=1e-3)


def test_where_nothing_can_be_made_smaller_the_next_attempt_says_so(
    tmp_path, tiny_gpt2_folder, make_spec, run
):
    (tmp_path / "run").mkdir()
    size = Shrinkage()
    while not size.is_over:
        size = size.further(rows=2)
    assert (size.parts, size.is_checkpointing) == (2, True)
    size.leave_note(tmp_path / "run")
    with pytest.raises(OutOfMemoryError, match="smaller block size"):
        run(make_spec(tiny_gpt2_folder))
    # Who tries again, on another device perhaps, is not held back by it.
    assert read_note(tmp_path / "run") == Shrinkage()


def test_memory_that_another_process_lacks_for_the_weights_is_told_by_the_next_attempt(
    tmp_path, tiny_gpt2_folder, make_spec, run, monkeypatch
):
    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as second:
        second.setenv("RANK", "1")
        second.setattr(training, "load_trainee", full)
        with pytest.raises(OutOfMemoryError):
            run(make_spec(tiny_gpt2_folder))
    with pytest.raises(OutOfMemoryError):
        run(make_spec(tiny_gpt2_folder))
    assert run(make_spec(tiny_gpt2_folder, max_steps=1)).losses


MAKE_FRESH = """
import os, sys
from pathlib import Path
from workers.finetuning.fresh import with_fresh_base
from workers.finetuning.spec import RunSpec

run_dir = Path(sys.argv[1])
spec = RunSpec.read(run_dir)
gate, opener = os.pipe()
made = []
for _ in range(3):
    made.append(os.fork())
    if made[-1] == 0:
        os.close(opener)
        # All of them wait here for the end of the pipe.
        os.read(gate, 1)
        with_fresh_base(spec, run_dir)
        os._exit(0)
os.close(opener)
sys.exit(any(os.waitpid(pid, 0)[1] for pid in made))
"""


def test_processes_that_make_a_fresh_base_at_once_do_not_disturb_each_other(
    tmp_path, tiny_gpt2_folder, make_spec
):
    spec = make_spec(tiny_gpt2_folder, method="full", from_scratch=True, vocabulary_size=300)
    spec.write(tmp_path)
    command = [sys.executable, "-c", MAKE_FRESH, str(tmp_path)]
    done = subprocess.run(command, env=ENVIRONMENT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fresh" / "config.json").exists()


def test_a_process_alone_is_the_first_and_shares_with_nobody():
    assert is_first()
    assert share({"wish": None}) == {"wish": None}

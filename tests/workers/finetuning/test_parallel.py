"""Two real processes that train one model, over gloo on the CPU."""

import pytest

from tests.workers.finetuning.test_run import ENVIRONMENT
from workers.finetuning.parallel import is_first, share
from workers.finetuning.supervisor import TrainerProcess


@pytest.mark.timeout(300)
def test_two_processes_learn_what_one_would(tmp_path, tiny_llama_folder, make_spec, run):
    # All eight rows in each step: how they are shuffled and parted changes no sum. Llama has no
    # dropout, whose dice would differ.
    options = {"max_steps": 3, "evaluate_every": 3, "block_size": 256, "batch_size": 8}
    alone = run(make_spec(tiny_llama_folder, micro_batch_size=4, **options), folder="alone")
    spec = make_spec(tiny_llama_folder, micro_batch_size=4, processes=2, **options)
    spec.write(tmp_path / "together")
    events = []
    process = TrainerProcess(
        tmp_path / "together", events.append, processes=2, environment=ENVIRONMENT
    )
    outcome = process.run(lambda: None)
    assert outcome.ending == "finished", outcome.log_tail
    assert [one["event"] for one in events if one["event"] != "step"] == [
        "evaluated", "sampled", "started", "evaluated", "sampled", "checkpointed", "finished",
    ]  # fmt: skip
    losses = {one["step"]: one["loss"] for one in events if one["event"] == "step"}
    assert losses == pytest.approx(alone.losses, rel=1e-4)
    expected = alone.of("finished")[0]["metrics"]["tuned"]["validation"]
    assert outcome.event["metrics"]["tuned"]["validation"] == pytest.approx(expected, rel=1e-4)


def test_a_process_alone_is_the_first_and_shares_with_nobody():
    assert is_first()
    assert share({"wish": None}) == {"wish": None}

"""Whole runs over tiny models: resumed, shrunk, diverged, stopped early, published."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from tests.workers.finetuning.conftest import Recorder
from workers.finetuning import trainer as trainer_module
from workers.finetuning.bases import load_trainee, uses_conv1d
from workers.finetuning.checkpoints import load_weights, valid_checkpoints
from workers.finetuning.corpus.splitting import Split
from workers.finetuning.errors import (
    DivergedError,
    NothingToLearnError,
    OutOfMemoryError,
    SpecError,
)
from workers.finetuning.spec import RunSpec
from workers.finetuning.wishes import InterruptedRunError, Wish
from workers.generation.errors import ModelUnreadableError

ADAPTER, WHOLE = "adapter_model.safetensors", "model.safetensors"


def published_weights(folder, name):
    return load_file(folder / "published" / name)


def metrics_of(folder):
    metrics = json.loads((folder / "published" / "metrics.json").read_text())
    return {key: value for key, value in metrics.items() if key != "train_seconds"}


@pytest.mark.parametrize(
    ("base", "method", "name", "at_step", "dtype"),
    [
        ("tiny_gpt2_folder", "lora", ADAPTER, 2, "float32"),
        ("tiny_gpt2_folder", "lora", ADAPTER, 3, "bfloat16"),
        ("tiny_llama_folder", "full", WHOLE, 5, "float32"),
    ],
)
def test_a_run_that_was_paused_ends_with_the_same_bits(
    base, method, name, at_step, dtype, request, make_spec, run, tmp_path
):
    """Nine rows in batches of four give epochs of three steps: within, at and past their ends."""
    folder = request.getfixturevalue(base)
    spec = make_spec(folder, method=method, dtype=dtype, lora_dropout=0.2)
    whole = run(spec, folder="whole")
    recorder = Recorder(at_step=at_step)
    with pytest.raises(InterruptedRunError) as caught:
        run(spec, recorder, folder="parted")
    assert (caught.value.wish, caught.value.step) == (Wish.PAUSE, at_step)
    resumed = run(spec, folder="parted")
    assert resumed.of("started")[0]["step"] == at_step
    assert recorder.losses | resumed.losses == whole.losses
    expected = published_weights(tmp_path / "whole", name)
    found = published_weights(tmp_path / "parted", name)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert metrics_of(tmp_path / "parted") == metrics_of(tmp_path / "whole")


def test_a_run_that_was_killed_goes_on_from_its_newest_whole_checkpoint(
    tiny_gpt2_folder, make_spec, run, tmp_path
):
    spec = make_spec(tiny_gpt2_folder)
    with pytest.raises(InterruptedRunError):
        run(spec, Recorder(at_step=5))
    newest = valid_checkpoints(tmp_path / "run")[-1]
    (newest / "weights.safetensors").write_bytes(b"half")
    (tmp_path / "run" / "checkpoint-9.part").mkdir()
    recorder = run(spec)
    assert recorder.of("started")[0]["step"] == 3
    assert recorder.of("finished")[0]["metrics"]["steps"] == 6


def test_a_finished_run_is_not_trained_again(tiny_gpt2_folder, make_spec, run, tmp_path):
    spec = make_spec(tiny_gpt2_folder)
    first = run(spec)
    again = run(spec)
    assert [one["event"] for one in again.events] == ["finished"]
    assert again.events[0]["metrics"] == first.of("finished")[0]["metrics"]
    # Killed between training and publishing, only the publishing is done again.
    shutil.rmtree(tmp_path / "run" / "published")
    third = run(spec)
    assert not third.of("step")
    assert third.of("finished")[0]["metrics"]["tuned"] == again.events[0]["metrics"]["tuned"]


def test_no_file_of_a_run_is_a_pickle(tiny_gpt2_folder, make_spec, run, tmp_path):
    run(make_spec(tiny_gpt2_folder, method="full"))
    suffixes = {path.suffix for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert suffixes <= {".safetensors", ".json", ".md", ".jinja", ".txt"}


def test_the_best_checkpoint_stays_and_the_oldest_go(tiny_llama_folder, make_spec, run, tmp_path):
    spec = make_spec(
        tiny_llama_folder, method="full", max_steps=40, evaluate_every=2, patience=2,
        save_total_limit=2, schedule="constant", learning_rate=0.03,
    )  # fmt: skip
    recorder = run(spec)
    metrics = recorder.of("finished")[0]["metrics"]
    evaluated = recorder.of("evaluated")[1:]
    best = min(evaluated, key=lambda one: one["loss"])
    assert metrics["ending"] == "early-stopped"
    assert metrics["step"] == best["step"]
    assert metrics["steps"] == best["step"] + 4
    assert metrics["tuned"]["validation"]["loss"] == pytest.approx(best["loss"], rel=1e-5)
    steps = [int(path.name.split("-")[1]) for path in valid_checkpoints(tmp_path / "run")]
    assert steps == [best["step"], metrics["steps"]]


def test_a_run_of_one_step_learns_in_it(tiny_gpt2_folder, make_spec, run):
    metrics = run(make_spec(tiny_gpt2_folder, max_steps=1)).of("finished")[0]["metrics"]
    assert metrics["tuned"]["validation"]["loss"] < metrics["base"]["validation"]["loss"]


def test_stopping_publishes_the_best_so_far(tiny_gpt2_folder, make_spec, run):
    spec = make_spec(tiny_gpt2_folder, max_steps=50, evaluate_every=20)
    recorder = run(spec, Recorder(at_step=4, wish=Wish.STOP))
    metrics = recorder.of("finished")[0]["metrics"]
    assert (metrics["ending"], metrics["steps"], metrics["planned_steps"]) == ("stopped", 4, 50)


def test_cancelling_publishes_nothing(tiny_gpt2_folder, make_spec, run, tmp_path):
    with pytest.raises(InterruptedRunError):
        run(make_spec(tiny_gpt2_folder), Recorder(at_step=2, wish=Wish.CANCEL))
    assert not (tmp_path / "run" / "published").exists()


class Hungry:
    """A device that holds ``rows`` rows; with gradient checkpointing ``frugal_rows``."""

    def __init__(self, monkeypatch, rows: int, frugal_rows: int | None = None) -> None:
        self.fits = rows
        self.frugal_rows = rows if frugal_rows is None else frugal_rows
        original = trainer_module.PackedTrainer.compute_loss
        fed = self

        def compute_loss(self, model, inputs, **kwargs):
            loss = original(self, model, inputs, **kwargs)
            limit = fed.fits if self._enable_checkpointing is not None else fed.frugal_rows
            if len(inputs["input_ids"]) > limit:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return loss

        monkeypatch.setattr(trainer_module.PackedTrainer, "compute_loss", compute_loss)


def test_running_out_of_memory_halves_the_micro_batch_and_changes_no_loss(
    tiny_llama_folder, make_spec, run, monkeypatch
):
    spec = make_spec(tiny_llama_folder, micro_batch_size=4, lora_dropout=0.0)
    roomy = run(spec, folder="roomy")
    Hungry(monkeypatch, rows=1)
    tight = run(spec, folder="tight")
    assert [one["micro_batch_size"] for one in tight.of("shrunk")] == [2, 1]
    assert tight.losses == pytest.approx(roomy.losses, rel=1e-4)


def test_single_rows_turn_to_gradient_checkpointing(tiny_llama_folder, make_spec, run, monkeypatch):
    spec = make_spec(tiny_llama_folder, method="full")
    roomy = run(spec, folder="roomy")
    Hungry(monkeypatch, rows=0, frugal_rows=1)
    tight = run(spec, folder="tight")
    assert tight.of("shrunk")[-1]["gradient_checkpointing"]
    assert tight.losses == pytest.approx(roomy.losses, rel=1e-4)


def test_too_little_memory_for_one_row_says_what_to_do(
    tiny_gpt2_folder, make_spec, run, monkeypatch
):
    Hungry(monkeypatch, rows=0)
    with pytest.raises(OutOfMemoryError, match="smaller block size"):
        run(make_spec(tiny_gpt2_folder))


def test_memory_that_runs_out_between_the_steps_says_what_to_do(
    tiny_gpt2_folder, make_spec, run, monkeypatch
):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.optim.AdamW, "step", full)
    with pytest.raises(OutOfMemoryError, match="smaller base"):
        run(make_spec(tiny_gpt2_folder))


def test_other_errors_of_a_step_are_not_taken_for_memory(
    tiny_gpt2_folder, make_spec, run, monkeypatch
):
    def broken(*_, **__):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(trainer_module.PackedTrainer, "compute_loss", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        run(make_spec(tiny_gpt2_folder))


def test_a_loss_that_is_no_number_stops_with_its_step(
    tiny_gpt2_folder, make_spec, run, monkeypatch, tmp_path
):
    original = trainer_module.PackedTrainer.compute_loss

    def poisoned(self, model, inputs, **kwargs):
        loss = original(self, model, inputs, **kwargs)
        return loss * math.nan if self.state.global_step == 3 else loss

    monkeypatch.setattr(trainer_module.PackedTrainer, "compute_loss", poisoned)
    with pytest.raises(DivergedError) as caught:
        run(make_spec(tiny_gpt2_folder))
    assert caught.value.data["step"] == 4
    assert [path.name for path in valid_checkpoints(tmp_path / "run")] == ["checkpoint-3"]


def test_a_loss_that_runs_away_stops(tiny_llama_folder, make_spec, run):
    spec = make_spec(
        tiny_llama_folder, method="full", learning_rate=1.0, schedule="constant", max_steps=60,
        max_grad_norm=0, warmup_share=0, evaluate_every=60,
    )  # fmt: skip
    with pytest.raises(DivergedError, match="learning rate"):
        run(spec)


def test_changed_options_do_not_load_foreign_weights(tiny_gpt2_folder, make_spec, run, tmp_path):
    from workers.finetuning.errors import CheckpointError

    with pytest.raises(InterruptedRunError):
        run(make_spec(tiny_gpt2_folder), Recorder(at_step=3))
    trainee = load_trainee(make_spec(tiny_gpt2_folder, lora_rank=4))
    with pytest.raises(CheckpointError, match="other options"):
        load_weights(valid_checkpoints(tmp_path / "run")[-1], trainee.model)


def test_without_validation_the_last_weights_are_the_result(
    tiny_gpt2_folder, make_spec, run, tmp_path
):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / f"{Split.TRAIN}.jsonl").write_text('{"text": "The parrot says hello."}\n' * 8)
    recorder = run(make_spec(tiny_gpt2_folder, corpus=str(corpus)))
    metrics = recorder.of("finished")[0]["metrics"]
    assert metrics["is_better"] is None
    assert metrics["step"] == metrics["steps"] == 6
    assert recorder.losses[6] < recorder.losses[1]


def test_a_corpus_with_nothing_to_learn_is_refused(tiny_gpt2_folder, make_spec, run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingToLearnError):
        run(make_spec(tiny_gpt2_folder, corpus=str(tmp_path / "empty")))


def test_frozen_layers_stay_as_they_are(tiny_llama_folder, make_spec, run, tmp_path):
    run(make_spec(tiny_llama_folder, method="full", frozen_layers=1))
    before, after = load_file(tiny_llama_folder / WHOLE), published_weights(tmp_path / "run", WHOLE)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any("layers.0." in name or "embed_tokens" in name for name in changed)
    assert any("layers.1." in name for name in changed)


def test_from_scratch_begins_with_fresh_weights_of_the_seed(tiny_gpt2_folder, make_spec):
    def weights(seed):
        spec = make_spec(tiny_gpt2_folder, method="full", from_scratch=True, seed=seed)
        return load_trainee(spec).causal.state_dict()["transformer.wte.weight"]

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_lora_knows_the_transposed_weights_of_gpt2(tiny_gpt2_folder, tiny_llama_folder, make_spec):
    for folder, transposed in ((tiny_gpt2_folder, True), (tiny_llama_folder, False)):
        trainee = load_trainee(make_spec(folder))
        assert uses_conv1d(trainee.causal) is transposed
        assert trainee.model.peft_config["default"].fan_in_fan_out is transposed
        layers = {
            name.split(".")[-4] for name, p in trainee.model.named_parameters() if p.requires_grad
        }
        assert "lm_head" not in layers
        assert len(layers) >= 3


def test_an_unreadable_base_is_named_with_the_reason(make_spec, tmp_path, tiny_gpt2_folder):
    base = tmp_path / "nothing"
    shutil.copytree(tiny_gpt2_folder, base)
    (base / "model.safetensors").unlink()
    with pytest.raises(ModelUnreadableError, match=r"nothing.*model\.safetensors") as caught:
        load_trainee(make_spec(base))
    assert "models verify" not in str(caught.value), "it is of no use to a folder of one's own"


@pytest.mark.parametrize(
    ("name", "content"),
    [("model.safetensors", b"\x07"), ("config.json", b'{"model_type": "gpt2", "n_embd": "wide"}')],
)
def test_a_base_whose_files_are_broken_is_unreadable(
    name, content, make_spec, tmp_path, tiny_gpt2_folder
):
    base = tmp_path / "broken"
    shutil.copytree(tiny_gpt2_folder, base)
    (base / name).write_bytes(content)
    with pytest.raises(ModelUnreadableError, match="broken"):
        load_trainee(make_spec(base))


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"epochs": -1}, "epochs"),
        ({"learning_rate": math.nan}, "learning_rate"),
        ({"lora_rank": "16"}, "lora_rank"),
        ({"method": "magic"}, "method"),
        ({"from_scratch": True}, "from_scratch"),
        ({"colour": "green"}, "colour"),
    ],
)
def test_options_out_of_range_are_named(options, option):
    with pytest.raises(SpecError) as caught:
        RunSpec.from_json({"base_model": "b", "corpus": "c", **options})
    assert caught.value.data["option"] == option


def test_a_spec_survives_its_file(tmp_path):
    spec = RunSpec(base_model="b", corpus="c", sample_prompts=("Ça va ?",), epochs=1.5)
    spec.write(tmp_path)
    assert RunSpec.read(tmp_path) == spec
    (tmp_path / "spec.json").write_text("{")
    with pytest.raises(SpecError):
        RunSpec.read(tmp_path)


def test_options_that_the_base_cannot_follow_are_named(tiny_llama_folder, make_spec):
    with pytest.raises(SpecError, match="fewer than 9 layers"):
        load_trainee(make_spec(tiny_llama_folder, method="full", frozen_layers=9))
    with pytest.raises(SpecError) as caught:
        load_trainee(make_spec(tiny_llama_folder, lora_targets="feathers"))
    assert caught.value.data["option"] == "lora_targets"

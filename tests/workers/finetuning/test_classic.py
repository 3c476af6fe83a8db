"""What users of older tools know: samples with a prefix, fresh models, going on from a version."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from workers.finetuning.bases import load_trainee
from workers.finetuning.errors import SpecError
from workers.finetuning.fresh import with_fresh_base
from workers.finetuning.plan import (
    choose_learning_rate,
    count_judging,
    is_worth_compiling,
    make_plan,
)
from workers.generation.errors import ModelUnreadableError


def test_samples_come_every_so_many_steps_with_their_prefixes(tiny_gpt2_folder, make_spec, run):
    spec = make_spec(
        tiny_gpt2_folder, max_steps=5, evaluate_every=5, sample_every=2,
        sample_prefixes=("Welcome to",),
    )  # fmt: skip
    sampled = run(spec).of("sampled")
    assert [one["step"] for one in sampled] == [0, 2, 4]
    assert all(one["samples"][0]["prompt"] == "Welcome to" for one in sampled)


def test_it_says_how_far_the_base_is_measured(tiny_gpt2_folder, make_spec, run):
    recorder = run(make_spec(tiny_gpt2_folder, max_steps=2, evaluate_every=2))
    told = [one["measured_tokens"] for one in recorder.of("measured")]
    assert told == sorted(told)
    assert told[-1] == recorder.of("measured")[-1]["tokens_to_measure"] > 0


def test_accumulation_and_warm_up_are_counted_in_steps(tiny_gpt2_folder, make_spec):
    options = {"micro_batch_size": 2, "accumulation": 3, "batch_size": 0, "warmup_steps": 4}
    plan = make_plan(make_spec(tiny_gpt2_folder, max_steps=10, **options), 100, "cpu")
    assert (plan.micro_batch_size, plan.accumulation, plan.batch_size) == (2, 3, 6)
    assert plan.warmup_steps == 4
    short = make_plan(make_spec(tiny_gpt2_folder, max_steps=1, warmup_steps=4), 100, "cpu")
    assert short.warmup_steps == 0, "the first step must learn"


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (3, 1), (12, 4), (36, 4), (200, 20)])
def test_short_runs_are_judged_less_often(tiny_gpt2_folder, make_spec, steps, every):
    plan = make_plan(make_spec(tiny_gpt2_folder, max_steps=steps, evaluate_every=0), 100, "cpu")
    assert plan.evaluate_every == plan.save_every == every


@pytest.mark.parametrize(
    ("rows", "epochs", "steps"), [(1, 30, 30), (11, 11, 121), (45, 6, 138), (10_000, 3, 1875)]
)
def test_small_corpora_are_gone_through_more_often(
    tiny_gpt2_folder, make_spec, rows, epochs, steps
):
    open_options = {"max_steps": 0, "batch_size": 0, "micro_batch_size": 0}
    plan = make_plan(make_spec(tiny_gpt2_folder, **open_options), rows, "cpu")
    assert (plan.epochs, plan.steps) == (epochs, steps)
    asked = make_plan(make_spec(tiny_gpt2_folder, epochs=2, **open_options), rows, "cpu")
    assert asked.epochs == 2


@pytest.mark.parametrize(
    ("options", "width", "rate"),
    [
        ({}, 16, 2e-3),
        ({}, 576, 1.3e-3),
        ({}, 4096, 2.9e-4),
        ({"method": "full"}, 576, 5e-5),
        ({"learning_rate": 3e-4}, 576, 3e-4),
    ],
)
def test_wider_models_learn_by_smaller_steps(tiny_gpt2_folder, make_spec, options, width, rate):
    spec = make_spec(tiny_gpt2_folder, **{"learning_rate": 0.0, **options})
    assert choose_learning_rate(spec, width) == rate


def test_what_a_run_does_beside_its_steps_is_counted(tiny_gpt2_folder, make_spec):
    def judging(validation_tokens, **options):
        spec = make_spec(tiny_gpt2_folder, max_steps=120, evaluate_every=0, **options)
        return count_judging(
            spec,
            make_plan(spec, 12, "cpu"),
            block_size=64,
            validation_tokens=validation_tokens,
            test_tokens=500,
        )

    held_back, none = judging(1000), judging(0)
    assert held_back.between_steps == 10 * (400 + 24)
    assert held_back.before_and_after == 2 * (400 + 200 + 24)
    assert (none.between_steps, none.before_and_after) == (0, 2 * (200 + 24))
    assert judging(1000, sample_every=60).between_steps == 10 * 400 + 2 * 24
    assert judging(10**9, max_evaluation_rows=1).between_steps == 10 * (26 + 24) - 4


@pytest.mark.parametrize("base", ["tiny_gpt2_folder", "tiny_llama_folder"])
def test_a_fresh_model_has_its_own_vocabulary_and_shape(base, request, make_spec, run, tmp_path):
    spec = make_spec(
        request.getfixturevalue(base), method="full", from_scratch=True, vocabulary_size=300,
        layers=1, heads=2, width=16, max_steps=2, evaluate_every=2,
    )  # fmt: skip
    run(spec)
    published = tmp_path / "run" / "published"
    config = AutoConfig.from_pretrained(published)
    assert (config.num_hidden_layers, config.num_attention_heads, config.hidden_size) == (1, 2, 16)
    tokenizer = AutoTokenizer.from_pretrained(published)
    assert config.vocab_size == len(tokenizer) <= 300
    assert config.eos_token_id == tokenizer.eos_token_id is not None
    assert tokenizer.chat_template
    model = AutoModelForCausalLM.from_pretrained(published)
    ids = tokenizer("Colour 3", return_tensors="pt").input_ids
    assert model(input_ids=ids).logits.shape[-1] == config.vocab_size


def test_a_fresh_tokenizer_is_made_once_for_a_run(tiny_gpt2_folder, make_spec, tmp_path):
    spec = make_spec(tiny_gpt2_folder, method="full", from_scratch=True, vocabulary_size=300)
    first = with_fresh_base(spec, tmp_path)
    (tmp_path / "fresh" / "mark").touch()
    assert with_fresh_base(spec, tmp_path) == first
    assert (tmp_path / "fresh" / "mark").exists()


def test_a_width_that_its_heads_cannot_part_is_named(tiny_gpt2_folder, make_spec, tmp_path):
    spec = make_spec(tiny_gpt2_folder, method="full", from_scratch=True, width=30)
    with pytest.raises(SpecError) as caught:
        with_fresh_base(spec, tmp_path)
    assert caught.value.data["option"] == "width"


def test_an_adapter_learns_on_from_where_it_was(tiny_gpt2_folder, make_spec, run, tmp_path):
    first = run(make_spec(tiny_gpt2_folder), folder="first").of("finished")[0]["metrics"]
    adapter = tmp_path / "first" / "published"
    second = run(make_spec(tiny_gpt2_folder, adapter=str(adapter)), folder="second")
    metrics = second.of("finished")[0]["metrics"]
    before = metrics["base"]["validation"]["loss"]
    assert before == pytest.approx(first["tuned"]["validation"]["loss"], rel=1e-5)
    assert metrics["tuned"]["validation"]["loss"] < before
    names = [
        load_file(tmp_path / name / "published" / "adapter_model.safetensors").keys()
        for name in ("first", "second")
    ]
    assert names[0] == names[1]


def test_full_weights_take_an_adapter_in(tiny_gpt2_folder, make_spec, run, tmp_path):
    first = run(make_spec(tiny_gpt2_folder), folder="first").of("finished")[0]["metrics"]
    adapter = str(tmp_path / "first" / "published")
    spec = make_spec(tiny_gpt2_folder, adapter=adapter, method="full", max_steps=1)
    metrics = run(spec, folder="second").of("finished")[0]["metrics"]
    before = metrics["base"]["validation"]["loss"]
    assert before == pytest.approx(first["tuned"]["validation"]["loss"], rel=1e-4)
    published = tmp_path / "second" / "published"
    assert (published / "model.safetensors").exists()
    assert not (published / "adapter_config.json").exists()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_adapter_that_is_a_pickle_or_nothing_is_refused(
    method, tiny_gpt2_folder, make_spec, tmp_path
):
    torch.save({}, tmp_path / "adapter_model.bin")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(ModelUnreadableError):
        load_trainee(make_spec(tiny_gpt2_folder, adapter=str(tmp_path), method=method))


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"vocabulary_size": 300}, "vocabulary_size"),
        ({"layers": 2}, "layers"),
        ({"from_scratch": True, "method": "full", "vocabulary_size": 20}, "vocabulary_size"),
        ({"from_scratch": True, "method": "full", "adapter": "a"}, "from_scratch"),
        ({"accumulation": 2, "batch_size": 4}, "accumulation"),
    ],
)
def test_options_that_contradict_each_other_are_named(options, option, tiny_gpt2_folder, make_spec):
    with pytest.raises(SpecError) as caught:
        make_spec(tiny_gpt2_folder, **options)
    assert caught.value.data["option"] == option


def test_only_a_long_run_on_a_gpu_is_compiled_by_itself(tiny_gpt2_folder, make_spec):
    def decide(steps, device_type, tokens=32_768, **options):
        spec = make_spec(
            tiny_gpt2_folder, max_steps=steps, micro_batch_size=64, batch_size=64, **options
        )
        plan = make_plan(spec, 10_000, device_type)
        return is_worth_compiling(
            spec, plan, parameters=124_000_000, tokens_a_step=tokens, device_type=device_type
        )

    assert decide(2000, "cuda")
    assert not decide(100, "cuda")
    assert not decide(20_000, "cuda", tokens=8192), "the host would be waited for"
    assert not decide(2000, "cpu")
    assert decide(1, "cpu", compile="yes")
    assert not decide(2000, "cuda", compile="no")

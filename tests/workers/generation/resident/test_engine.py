"""The engine over a device that keeps everything, as the CPU can run it: without graphs."""

import itertools
import random
import weakref

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.workers.generation.asking import (
    ask,
    cancels_one_answer_and_no_other,
    prompts,
    reference_text,
    says_how_likely_its_tokens_are,
    text_of,
)
from workers.generation.engine import ContinuousBatchingEngine
from workers.generation.loading import load_model
from workers.generation.protocol import FinishReason, GenerationFailedError
from workers.generation.resident.runner import ResidentRunner


@pytest.fixture(scope="module", params=["tiny_gpt2_folder", "tiny_llama_folder"])
def folder(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def loaded(folder):
    return load_model(folder, device="cpu", torch_threads=1)


@pytest.fixture(scope="module")
def reference(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def make_engine(loaded, **settings):
    bounds = {"max_batch_size": 4, "cache_max_tokens": 1024, "step_max_tokens": 16}
    engine = ContinuousBatchingEngine(loaded, is_resident=True, **{**bounds, **settings})
    assert isinstance(engine._runner, ResidentRunner)
    return engine


@pytest.fixture
def engine(loaded):
    engine = make_engine(loaded)
    yield engine
    engine.close()


def test_each_token_comes_with_how_likely_it_was_where_that_is_asked(loaded, reference, engine):
    says_how_likely_its_tokens_are(loaded, reference, engine)


def test_any_mix_gets_what_transformers_generates(loaded, reference, engine):
    asked = prompts(loaded, 12, seed=31)
    streams = [ask(engine, prompt) for prompt in asked]
    expected = [reference_text(loaded, reference, prompt) for prompt in asked]
    assert [text_of(stream) for stream in streams] == expected
    assert text_of(ask(engine, asked[0])) == expected[0]


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0.9, "top_p": 0.9, "seed": 7},
        {"temperature": 1.3, "top_k": 20, "min_p": 0.02, "seed": 8},
        {"temperature": 0.8, "repetition_penalty": 1.3, "presence_penalty": 0.5, "seed": 9},
        {"temperature": 0.0, "repetition_penalty": 1.4, "min_new_tokens": 6},
        {"temperature": 0.0, "repetition_penalty": 1.4, "penalise_prompt": False},
    ],
)
def test_every_way_of_choosing_says_what_the_eager_engine_says(loaded, engine, sampling):
    eager = ContinuousBatchingEngine(loaded, max_batch_size=4, is_resident=False)
    asked = prompts(loaded, 3, seed=32)
    beside = [ask(engine, prompt, temperature=1.0) for prompt in prompts(loaded, 3, seed=33)]
    ours = [ask(engine, prompt, **sampling) for prompt in asked]
    theirs = [ask(eager, prompt, **sampling) for prompt in asked]
    assert [text_of(stream) for stream in ours] == [text_of(stream) for stream in theirs]
    for stream in beside:
        text_of(stream)
    eager.close()


def test_answers_that_outgrow_the_cache_are_computed_anew_and_say_the_same(loaded, reference):
    engine = make_engine(loaded, cache_max_tokens=256, step_max_tokens=64)
    asked = [p[:40] for p in prompts(loaded, 9, seed=21)]
    streams = [ask(engine, prompt, max_new_tokens=150) for prompt in asked]
    for prompt, stream in zip(asked, streams, strict=True):
        assert text_of(stream) == reference_text(loaded, reference, prompt, 150)
    stats = engine.stats()
    assert stats.preemptions > 0
    assert (stats.running, stats.waiting, stats.cached_tokens) == (0, 0, 0)
    engine.close()


def test_shared_beginnings_are_copied_and_say_the_same(loaded, reference, engine):
    dice = random.Random(12)  # noqa: S311
    opening = max(prompts(loaded, 8, seed=13), key=len)
    asked = [opening[: dice.randint(16, len(opening))] + p[:20] for p in prompts(loaded, 8, 14)]
    for prompt in asked * 2:
        assert text_of(ask(engine, prompt)) == reference_text(loaded, reference, prompt)
    assert engine.stats().reused_tokens > 0
    assert engine._prefixes.held_tokens <= 1024


def test_a_poison_request_ends_alone(loaded, reference, engine, monkeypatch):
    launch = engine._runner.launch

    def explode(spans):
        if any(span.token_ids == [5] and span.position == 0 for span in spans):
            raise RuntimeError("boom")
        return launch(spans)

    monkeypatch.setattr(engine._runner, "launch", explode)
    asked = prompts(loaded, 4, seed=10)
    streams = [ask(engine, prompt) for prompt in asked]
    with pytest.raises(GenerationFailedError):
        text_of(ask(engine, (5,)))
    expected = [reference_text(loaded, reference, prompt) for prompt in asked]
    assert [text_of(stream) for stream in streams] == expected


def test_an_error_that_is_kept_keeps_no_cache(loaded, engine, monkeypatch):
    caches = []

    def explode(spans):
        caches.extend(weakref.ref(span.cache) for span in spans)
        raise RuntimeError("boom") from ValueError("a cause")

    monkeypatch.setattr(engine._runner, "launch", explode)
    errors = []
    streams = [ask(engine, prompt) for prompt in prompts(loaded, 3, seed=10)]
    for stream in streams:
        with pytest.raises(GenerationFailedError) as caught:
            text_of(stream)
        errors.append(caught.value)
    engine.close()
    assert isinstance(errors[0].__cause__.__cause__, ValueError)
    assert caches
    assert not any(cache() for cache in caches)


@pytest.mark.parametrize("error", [RuntimeError("boom"), torch.OutOfMemoryError("full")])
def test_a_step_that_fails_once_the_device_has_chosen_is_computed_again(
    loaded, engine, monkeypatch, error
):
    """What it has written must not count as what came before."""
    wishes = {"temperature": 0.0, "repetition_penalty": 1.4, "presence_penalty": 0.5}
    asked = prompts(loaded, 3, seed=41)
    expected = [text_of(ask(engine, prompt, **wishes)) for prompt in asked]
    choose, steps = engine._runner._choose, itertools.count()

    def failing(*args):
        tokens = choose(*args)
        if next(steps) in {2, 8}:
            raise error
        return tokens

    monkeypatch.setattr(engine._runner, "_choose", failing)
    streams = [ask(engine, prompt, **wishes) for prompt in asked]
    assert [text_of(stream) for stream in streams] == expected
    assert next(steps) > 8


def test_a_full_device_runs_fewer_at_a_time_and_loses_nobody(
    loaded, reference, engine, monkeypatch
):
    launch = engine._runner.launch

    def full(spans):
        if len(spans) > 2:
            raise torch.OutOfMemoryError("full")
        return launch(spans)

    monkeypatch.setattr(engine._runner, "launch", full)
    asked = prompts(loaded, 6, seed=22)
    streams = [ask(engine, prompt) for prompt in asked]
    expected = [reference_text(loaded, reference, prompt) for prompt in asked]
    assert [text_of(stream) for stream in streams] == expected
    assert engine.stats().preemptions > 0


def test_a_device_without_memory_for_a_long_step_takes_shorter_ones(loaded, reference, monkeypatch):
    engine = make_engine(loaded, step_max_tokens=64)
    run, forgotten = engine._runner._launch, []

    def full(spans):
        if sum(span.length for span in spans) > 12:
            raise torch.OutOfMemoryError("full")
        return run(spans)

    monkeypatch.setattr(engine._runner, "_launch", full)
    monkeypatch.setattr(engine._runner._programs, "forget", lambda: forgotten.append(1))
    prompt = max(prompts(loaded, 8, seed=13), key=len)
    assert len(prompt) > 12
    # Alone, so that no other's room could be taken.
    assert text_of(ask(engine, prompt)) == reference_text(loaded, reference, prompt)
    assert forgotten
    engine.close()


def test_logits_that_are_no_numbers_fail_their_request_only(folder, reference):
    loaded = load_model(folder, device="cpu", torch_threads=1)
    with torch.inference_mode():
        loaded.model.get_input_embeddings().weight[5] = float("nan")
    head = loaded.model.get_output_embeddings()
    with torch.inference_mode():
        head.weight = torch.nn.Parameter(reference.get_output_embeddings().weight.detach().clone())
    engine = make_engine(loaded)
    (healthy,) = (p for p in prompts(loaded, 1, seed=3) if 5 not in p)
    stream = ask(engine, healthy, max_new_tokens=4)
    with pytest.raises(GenerationFailedError, match="not a number"):
        text_of(ask(engine, (5, 6, 7)))
    assert list(stream)[-1].finish is not FinishReason.ERROR
    # What the failed one left in the cache harms nobody who comes after it.
    again = text_of(ask(engine, healthy, max_new_tokens=4))
    assert again == reference_text(loaded, reference, healthy, 4)
    engine.close()


def test_cancelling_ends_one_answer_and_no_other(loaded, engine):
    cancels_one_answer_and_no_other(loaded, engine)


def test_a_seat_taken_again_remembers_nothing(loaded, engine):
    """Seats' penalties and dice are their holder's alone."""
    warm = {"temperature": 0.9, "repetition_penalty": 1.5, "seed": 3}
    prompt = prompts(loaded, 1, seed=6)[0]
    first = text_of(ask(engine, prompt, **warm))
    for other in prompts(loaded, 6, seed=7):
        text_of(ask(engine, other, **warm))
    assert text_of(ask(engine, prompt, **warm)) == first

"""What harms an engine harms nobody but its cause."""

import pytest
import torch

from core.errors import InvalidInputError
from tests.workers.generation.asking import (
    ask,
    prompts,
    reference_text,
    text_of,
)
from workers.generation.attention import KeyValueCache
from workers.generation.engine import ContinuousBatchingEngine
from workers.generation.protocol import (
    EngineLostError,
    FinishReason,
    GenerationFailedError,
)


@pytest.fixture
def engine(small_engine):
    return small_engine


@pytest.mark.parametrize(
    "prompt", [(), (-1,), (10_000,), (5,) * 256], ids=["empty", "negative", "unknown", "too long"]
)
def test_a_prompt_that_cannot_be_run_is_refused(engine, prompt):
    with pytest.raises(InvalidInputError):
        ask(engine, prompt)


def test_a_poison_request_ends_alone(loaded, reference, engine, monkeypatch):
    poison = prompts(loaded, 1, seed=9)[0]
    run = engine._runner.run

    def explode(spans):
        if any(span.token_ids[-1] == poison[-1] and span.position == 0 for span in spans):
            raise RuntimeError("boom")
        return run(spans)

    monkeypatch.setattr(engine._runner, "run", explode)
    asked = [p for p in prompts(loaded, 4, seed=10) if p[-1] != poison[-1]]
    streams = [ask(engine, prompt) for prompt in asked]
    failing = ask(engine, poison[-1:])
    with pytest.raises(GenerationFailedError):
        text_of(failing)
    assert [text_of(s) for s in streams] == [
        reference_text(loaded, reference, prompt) for prompt in asked
    ]


def test_logits_that_are_no_numbers_fail_their_request_only(loaded, engine, monkeypatch):
    run = engine._runner.run

    def spoil(spans):
        logits = run(spans)
        rows = [span for span in spans if span.is_sampling]
        for row, span in enumerate(rows):
            if span.position == 0 and len(span.token_ids) == 1:
                with torch.inference_mode():
                    logits[row, 3] = float("nan")
        return logits

    monkeypatch.setattr(engine._runner, "run", spoil)
    healthy = ask(engine, max(prompts(loaded, 4), key=len))
    with pytest.raises(GenerationFailedError, match="not a number"):
        text_of(ask(engine, (5,)))
    assert list(healthy)[-1].finish is not FinishReason.ERROR


def test_closing_ends_every_answer_with_an_error(loaded):
    engine = ContinuousBatchingEngine(loaded)
    streams = [ask(engine, p, max_new_tokens=190) for p in prompts(loaded, 20, seed=4)]
    engine.close()
    with pytest.raises(GenerationFailedError):
        text_of(streams[-1])
    with pytest.raises(GenerationFailedError):
        ask(engine, (5,))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_no_room_for_a_copy_means_computing_it_all(loaded, reference, engine, monkeypatch, error):
    prompt = max(prompts(loaded, 8), key=len)
    text_of(ask(engine, prompt))

    def out_of_memory(cache, token_ids, owner):
        raise error

    monkeypatch.setattr(engine._prefixes, "fill", out_of_memory)
    assert text_of(ask(engine, prompt)) == reference_text(loaded, reference, prompt)
    assert engine.stats().reused_tokens == 0


def test_text_that_cannot_be_made_fails_its_request_only(loaded, reference, engine, monkeypatch):
    from workers.generation.text_stream import TextStream

    healthy, sick = prompts(loaded, 2, seed=15)
    push = TextStream.push

    def stumble(self, token_id):
        if self._stops == ("sick",):
            raise ValueError("no text")
        return push(self, token_id)

    monkeypatch.setattr(TextStream, "push", stumble)
    streams = [ask(engine, healthy), ask(engine, sick, stop=("sick",))]
    with pytest.raises(GenerationFailedError):
        text_of(streams[1])
    assert text_of(streams[0]) == reference_text(loaded, reference, healthy)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), RuntimeError("DefaultCPUAllocator: not enough")]
)
def test_a_full_device_runs_fewer_at_a_time_and_loses_nobody(
    loaded, reference, engine, monkeypatch, error
):
    run = engine._runner.run

    def full(spans):
        if len(spans) > 2:
            raise error
        return run(spans)

    monkeypatch.setattr(engine._runner, "run", full)
    asked = prompts(loaded, 6, seed=22)
    streams = [ask(engine, prompt) for prompt in asked]
    assert [text_of(s) for s in streams] == [
        reference_text(loaded, reference, prompt) for prompt in asked
    ]
    assert engine.stats().preemptions > 0


@pytest.mark.parametrize("nth", [2, 4], ids=["in the first layer", "in the second"])
def test_memory_that_runs_out_between_keys_and_values_costs_no_answer(
    loaded, reference, engine, monkeypatch, nth
):
    make_room, made = KeyValueCache._room_for, []

    def run_out_once(*arguments):
        made.append(arguments)
        if len(made) == nth:
            raise torch.OutOfMemoryError
        return make_room(*arguments)

    monkeypatch.setattr(KeyValueCache, "_room_for", run_out_once)
    prompt = max(prompts(loaded, 8), key=len)
    assert text_of(ask(engine, prompt)) == reference_text(loaded, reference, prompt)
    assert len(made) > nth


def test_what_does_not_fit_even_alone_fails_and_the_next_is_answered(
    loaded, reference, engine, monkeypatch
):
    run = engine._runner.run

    def full(spans):
        if any(span.position + span.length > 8 for span in spans):
            raise torch.OutOfMemoryError
        return run(spans)

    monkeypatch.setattr(engine._runner, "run", full)
    with pytest.raises(GenerationFailedError, match="out of memory"):
        text_of(ask(engine, (5,) * 30))
    assert text_of(ask(engine, (5, 6), max_new_tokens=4)) == reference_text(
        loaded, reference, (5, 6), 4
    )


def test_a_small_cache_bounds_what_is_seen_as_a_small_window_does(loaded, reference):
    engine = ContinuousBatchingEngine(loaded, cache_max_tokens=64)
    with pytest.raises(InvalidInputError, match="64"):
        ask(engine, (5,) * 64)
    said = text_of(ask(engine, (5,) * 60, max_new_tokens=100))
    assert said == reference_text(loaded, reference, (5,) * 60, 4)
    engine.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_engine_that_dies_leaves_nobody_waiting(loaded, engine, monkeypatch):
    def die():
        raise SystemExit

    monkeypatch.setattr(engine._scheduler, "plan", die)
    with pytest.raises(EngineLostError):
        text_of(ask(engine, (5, 6)))
    engine._thread.join(5)
    assert not engine.is_alive
    with pytest.raises(EngineLostError):
        ask(engine, (5, 6))


def test_a_broken_device_ends_the_engine_and_says_so(loaded):
    def break_down(spans):
        raise torch.AcceleratorError("an illegal memory access was encountered")

    lost = []
    engine = ContinuousBatchingEngine(loaded, on_device_lost=lost.append)
    engine._runner.run = break_down
    with pytest.raises(EngineLostError):
        text_of(ask(engine, (5, 6)))
    engine._thread.join(5)
    assert not engine.is_alive
    assert [type(exc) for exc in lost] == [torch.AcceleratorError]

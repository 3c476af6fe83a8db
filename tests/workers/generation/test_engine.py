import random
import threading
import time

import pytest
import torch

from tests.workers.generation.asking import (
    ask,
    cancels_one_answer_and_no_other,
    prompts,
    reference_text,
    says_how_likely_its_tokens_are,
    text_of,
)
from workers.generation.engine import ContinuousBatchingEngine
from workers.generation.protocol import (
    FinishReason,
    GenerationRequest,
    Sampling,
    Standing,
)
from workers.generation.scheduler import Scheduler


@pytest.fixture
def engine(small_engine):
    return small_engine


def test_a_request_alone_gets_what_transformers_generates(loaded, reference, engine):
    for prompt in prompts(loaded, 4):
        assert text_of(ask(engine, prompt)) == reference_text(loaded, reference, prompt)


def test_each_token_comes_with_how_likely_it_was_where_that_is_asked(loaded, reference, engine):
    says_how_likely_its_tokens_are(loaded, reference, engine)


def test_a_request_in_a_batch_gets_what_it_gets_alone(loaded, reference, engine):
    asked = prompts(loaded, 10, seed=1)
    streams = [ask(engine, prompt) for prompt in asked]
    texts = [text_of(stream) for stream in streams]
    assert texts == [reference_text(loaded, reference, prompt) for prompt in asked]


def test_packing_equals_a_left_padded_batch_of_transformers(loaded, reference, engine):
    asked = prompts(loaded, 5, seed=2)
    longest = max(map(len, asked))
    pad = loaded.tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in asked])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in asked])
    with torch.inference_mode():
        output = reference.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=12,
            do_sample=False,
            pad_token_id=pad,
            eos_token_id=sorted(loaded.end_ids),
        )
    decoded = loaded.tokenizer.batch_decode(output[:, longest:], skip_special_tokens=True)
    padded = [text.rstrip("�") for text in decoded]
    assert [text_of(s) for s in [ask(engine, p) for p in asked]] == padded


def test_a_seed_gives_the_same_text_whatever_else_runs(loaded, engine):
    prompt = prompts(loaded, 1)[0]
    warm = {"temperature": 0.9, "top_p": 0.9, "repetition_penalty": 1.2, "seed": 7}
    alone = text_of(ask(engine, prompt, **warm))
    others = [ask(engine, p, temperature=1.0) for p in prompts(loaded, 6, seed=3)]
    beside = text_of(ask(engine, prompt, **warm))
    for other in others:
        text_of(other)
    assert alone == beside
    assert alone != text_of(ask(engine, prompt, **{**warm, "seed": 8}))


def test_without_the_prompt_the_penalty_counts_the_answer_alone(loaded, reference, engine):
    firsts = 0
    for drawn in prompts(loaded, 8):
        # A prompt that holds its most likely next token, as far as that stays the most likely one.
        with torch.inference_mode():
            prompt = (int(reference(torch.tensor([drawn])).logits[0, -1].argmax()), *drawn)
        first = text_of(ask(engine, prompt, max_new_tokens=1))
        alone = {"repetition_penalty": 1e6, "penalise_prompt": False}
        assert text_of(ask(engine, prompt, max_new_tokens=1, **alone)) == first
        counted = text_of(ask(engine, prompt, max_new_tokens=1, repetition_penalty=1e6))
        firsts += counted != first
    assert firsts, "the prompt would have been penalised"


@pytest.mark.parametrize(
    "edge",
    [
        {"temperature": 0.0, "top_p": 0.0},
        {"temperature": 1.5, "top_p": 0.0},
        {"temperature": 1e-30},
        {"temperature": 1.5, "top_k": 1},
        {"temperature": 0.0, "stop": ("", "")},
        {"temperature": 0.0, "stop": tuple(f"no such words {i}" for i in range(256))},
    ],
)
def test_sampling_at_its_edges_takes_the_likeliest_token(loaded, reference, engine, edge):
    prompt = prompts(loaded, 1, seed=16)[0]
    assert text_of(ask(engine, prompt, **edge)) == reference_text(loaded, reference, prompt)


def test_an_answer_ends_at_its_length(loaded, engine):
    chunks = list(ask(engine, prompts(loaded, 1)[0], max_new_tokens=3))
    assert chunks[-1].token_count <= 3
    assert chunks[-1].finish in {FinishReason.LENGTH, FinishReason.STOP}


def test_zero_tokens_asked_is_an_empty_answer(loaded, engine):
    (chunk,) = ask(engine, prompts(loaded, 1)[0], max_new_tokens=0)
    assert (chunk.text, chunk.finish) == ("", FinishReason.LENGTH)


def test_a_stop_string_ends_the_answer_before_it(loaded, engine):
    prompt = max(prompts(loaded, 8), key=len)
    whole = text_of(ask(engine, prompt, max_new_tokens=20))
    stop = whole[4:7]
    stream = ask(engine, prompt, max_new_tokens=20, stop=(stop,))
    assert text_of(stream) == whole[: whole.find(stop)]


def test_cancelling_ends_one_answer_and_no_other(loaded, engine):
    cancels_one_answer_and_no_other(loaded, engine)


def test_a_second_turn_reuses_the_first_and_says_the_same(loaded, reference, engine):
    first = max(prompts(loaded, 8), key=len)
    stream = ask(engine, first)
    text_of(stream)
    second = (*first, *prompts(loaded, 1, seed=11)[0])
    assert text_of(ask(engine, second)) == reference_text(loaded, reference, second)
    assert engine.stats().reused_tokens >= len(first) - 1


def test_any_schedule_with_shared_beginnings_says_the_same(loaded, reference, engine):
    dice = random.Random(12)  # noqa: S311
    opening = max(prompts(loaded, 8, seed=13), key=len)
    asked = [
        opening[: dice.randint(16, len(opening))] + p[:20] for p in prompts(loaded, 10, seed=14)
    ]
    expected = {prompt: reference_text(loaded, reference, prompt) for prompt in asked}
    for _ in range(2):
        dice.shuffle(asked)
        streams = [(prompt, ask(engine, prompt)) for prompt in asked]
        for prompt, stream in streams:
            assert text_of(stream) == expected[prompt]
    assert engine.stats().reused_tokens > 0
    assert engine._prefixes.held_tokens <= 1024


def test_answers_that_outgrow_the_cache_are_computed_anew_and_say_the_same(loaded, reference):
    engine = ContinuousBatchingEngine(
        loaded, max_batch_size=4, cache_max_tokens=256, step_max_tokens=64
    )
    asked = [p[:40] for p in prompts(loaded, 9, seed=21)]
    long = 150
    streams = [ask(engine, prompt, max_new_tokens=long) for prompt in asked]
    for prompt, stream in zip(asked, streams, strict=True):
        assert text_of(stream) == reference_text(loaded, reference, prompt, long)
    stats = engine.stats()
    assert stats.preemptions > 0
    assert (stats.running, stats.waiting, stats.cached_tokens) == (0, 0, 0)
    engine.close()


def test_what_the_engine_changes_no_other_thread_reads(loaded, monkeypatch):
    readers = set()

    def watched(read):
        return property(lambda self: (readers.add(threading.get_ident()), read(self))[1])

    engine = ContinuousBatchingEngine(loaded)
    for name in ("running", "waiting", "reserved_tokens"):
        monkeypatch.setattr(Scheduler, name, watched(getattr(Scheduler, name).fget))
    run, seen = engine._runner.run, []

    def step(spans):
        seen.append(engine.stats())
        return run(spans)

    monkeypatch.setattr(engine._runner, "run", step)
    text_of(ask(engine, prompts(loaded, 1)[0]))
    stats = engine.stats()
    assert all(one.running == 1 and one.cached_tokens for one in seen)
    assert (stats.running, stats.waiting, stats.cached_tokens) == (0, 0, 0)
    assert stats.generated_tokens > 0
    assert readers == {engine._thread.ident}
    engine.close()


def test_an_answer_ends_at_its_deadline_with_what_there_is(loaded, engine, monkeypatch):
    run = engine._runner.run

    def slow(spans):
        time.sleep(0.02)
        return run(spans)

    monkeypatch.setattr(engine._runner, "run", slow)
    sampling = Sampling(max_new_tokens=190, temperature=3.0, seed=3)
    late = engine.submit(
        GenerationRequest("r", (5, 6), sampling, standing=Standing(max_seconds=0.2))
    )
    last = list(late)[-1]
    assert last.finish in {FinishReason.DEADLINE, FinishReason.STOP}
    assert last.token_count < 100


def test_a_loud_guild_does_not_keep_a_quiet_one_waiting(loaded, engine, monkeypatch):
    order = []
    accept = engine._accept

    def note(number, token):
        order.append(engine._answers[number].request.standing.flow)
        accept(number, token)

    monkeypatch.setattr(engine, "_accept", note)
    sampling = Sampling(max_new_tokens=12, temperature=0.0)
    streams = [
        engine.submit(GenerationRequest(flow, (7, 8, 9), sampling, standing=Standing(flow=flow)))
        for flow in ["loud"] * 30 + ["quiet"]
    ]
    for stream in streams:
        text_of(stream)
    assert order.index("quiet") < len(order) / 2

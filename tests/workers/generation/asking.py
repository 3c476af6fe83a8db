"""What tests of engines ask, and what transformers says to it."""

import random

import torch

from workers.generation.protocol import FinishReason, GenerationRequest, Sampling

GREEDY = {"temperature": 0.0, "repetition_penalty": 1.0}


def prompts(loaded, count: int, seed: int = 0) -> list[tuple[int, ...]]:
    dice = random.Random(seed)  # noqa: S311
    ids = range(2, len(loaded.tokenizer))
    return [tuple(dice.choices(ids, k=dice.randint(1, 60))) for _ in range(count)]


def ask(engine, prompt, **sampling):
    values = {"max_new_tokens": 12, **GREEDY, **sampling}
    return engine.submit(GenerationRequest("r", prompt, Sampling(**values)))


def text_of(stream) -> str:
    return "".join(chunk.text for chunk in stream)


def reference_text(loaded, reference, prompt, max_new_tokens=12) -> str:
    with torch.inference_mode():
        output = reference.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=loaded.tokenizer.pad_token_id,
            eos_token_id=sorted(loaded.end_ids),
        )
    text = loaded.tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True)
    return text.rstrip("�")


def says_how_likely_its_tokens_are(loaded, reference, engine) -> None:
    """What holds of every runner."""
    prompt, other = prompts(loaded, 2, seed=9)
    beside = ask(engine, other, max_new_tokens=20, temperature=1.5, seed=3, logprobs=0)
    silent = ask(engine, other)
    chunks = list(ask(engine, prompt, logprobs=3))
    reported = [token for chunk in chunks for token in chunk.logprobs]
    assert len(reported) == chunks[-1].token_count
    with torch.inference_mode():
        ids = torch.tensor([prompt])
        for token in reported:
            scores = reference(ids).logits[0, -1].log_softmax(-1)
            best = scores.topk(3)
            names = [loaded.tokenizer.decode([i]) for i in best.indices.tolist()]
            assert [name for name, _ in token.likeliest] == names
            said = torch.tensor([value for _, value in token.likeliest])
            torch.testing.assert_close(said, best.values, atol=1e-4, rtol=0)
            assert (token.token, token.logprob) == token.likeliest[0], "the choice is greedy"
            ids = torch.cat((ids, best.indices[None, :1]), dim=1)
    drawn = list(beside)
    assert sum(len(chunk.logprobs) for chunk in drawn) == drawn[-1].token_count
    assert all(t.logprob <= 0 and not t.likeliest for c in drawn for t in c.logprobs)
    assert not any(chunk.logprobs for chunk in silent)


def cancels_one_answer_and_no_other(loaded, engine) -> None:
    """What holds of every runner."""
    long, other = prompts(loaded, 2, seed=5)
    stream = ask(engine, long, max_new_tokens=150, temperature=2.0, seed=1)
    beside = ask(engine, other)
    next(iter(stream))
    stream.cancel()
    assert list(stream)[-1].finish in {FinishReason.CANCELLED, FinishReason.STOP}
    assert list(beside)[-1].finish is not FinishReason.CANCELLED
    assert engine.stats().running == 0

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

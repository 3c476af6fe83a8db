"""The same prompts answered again and again, so that people see what is being learnt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from workers.finetuning.chat import render_prompt
from workers.finetuning.corpus.documents import Example, PlainText
from workers.generation.memory import collect_garbage, is_out_of_memory

log = structlog.get_logger(__name__)

_PROMPT_WORDS = 8
_MAX_PROMPT_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked. Not in a chat, it is a text to go on with."""

    text: str
    is_chat: bool
    persona: str = ""


def choose_prompts(
    given: Sequence[str],
    examples: Iterable[Example],
    count: int,
    *,
    persona: str = "",
    prefixes: Sequence[str] = (),
) -> list[Prompt]:
    """The given prompts as chat and the prefixes as text to go on with, filled up to ``count``
    with the first questions of a corpus."""
    prompts = [Prompt(text, is_chat=True, persona=persona) for text in given]
    prompts += [Prompt(text, is_chat=False) for text in prefixes]
    for example in examples:
        if len(prompts) >= count:
            break
        found = _prompt_of(example, persona)
        if found is not None and found not in prompts:
            prompts.append(found)
    return prompts


def _prompt_of(example: Example, persona: str) -> Prompt | None:
    if isinstance(example, PlainText):
        words = example.text.split()[:_PROMPT_WORDS]
        return Prompt(" ".join(words), is_chat=False) if words else None
    question = next((turn.text for turn in example.turns if turn.role == "user"), "")
    return Prompt(question, is_chat=True, persona=persona) if question else None


def generate_samples(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    seed: int,
    device: torch.device,
) -> list[str]:
    """One answer for each prompt, drawn with the same seed each time.

    The training's random generators are left as they were. Where memory runs out fewer prompts are
    answered at a time, and one that does not fit alone has an empty answer: samples are not what a
    run should fail for.
    """
    texts: list[str] = []
    at_a_time = len(prompts)
    was_training = model.training
    model.eval()
    try:
        while len(texts) < len(prompts):
            part = prompts[len(texts) : len(texts) + at_a_time]
            try:
                texts += _answer(model, tokenizer, part, max_new_tokens, seed, device)
                continue
            except (RuntimeError, MemoryError) as exc:
                if not is_out_of_memory(exc):
                    raise
                at_a_time = max(1, len(part) // 2)
                log.warning("sampled_in_parts", prompts=at_a_time)
            if len(part) == 1:
                texts.append("")
            # Only here is what the failed attempt held given back.
            collect_garbage()
    finally:
        model.train(was_training)
    return texts


@torch.no_grad()
def _answer(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    seed: int,
    device: torch.device,
) -> list[str]:
    batch = _encode(tokenizer, prompts, device)
    # Each answer grows from token to token, so layers compiled for training would be compiled anew.
    with (
        torch.compiler.set_stance("force_eager"),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
    ):
        torch.manual_seed(seed)
        output: Tensor = model.generate(
            **batch,
            max_new_tokens=max_new_tokens,
            do_sample=True,
            temperature=0.7,
            top_p=0.95,
            top_k=0,
            repetition_penalty=1.1,
            use_cache=True,
            pad_token_id=_pad_id(tokenizer),
        )
    width = batch["input_ids"].shape[1]
    decoded = tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
    return [_first_turn(str(text), prompt) for text, prompt in zip(decoded, prompts, strict=True)]


def _first_turn(text: str, prompt: Prompt) -> str:
    """Models with speaker tags go on to speak for others; the answer ends where they do."""
    text = text.strip()
    return text.split("\nUser:")[0].split("\nPerroquet:")[0].strip() if prompt.is_chat else text


def _encode(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], device: torch.device
) -> dict[str, Tensor]:
    """Left-padded, so that every answer starts in the same column."""
    rows = [_ids(tokenizer, prompt)[-_MAX_PROMPT_TOKENS:] for prompt in prompts]
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), _pad_id(tokenizer), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, width - len(row) :] = torch.tensor(row)
        mask[number, width - len(row) :] = 1
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def _ids(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    if not prompt.is_chat:
        return list(tokenizer(prompt.text).input_ids)
    text = render_prompt(tokenizer, prompt.text, prompt.persona)
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def _pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(candidate, int):
            return candidate
    return 0

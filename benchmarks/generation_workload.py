"""What the generation benchmark asks: a GPT-2 of 124M with random weights, and chat requests."""

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

_VOCABULARY = 50_257
_END = "<|endoftext|>"

# Seconds from the start to each token of each request.
Times = list[list[float]]


@dataclass(frozen=True)
class Run:
    """What one contender did, and the processor's seconds that it took, of all threads."""

    times: Times
    processor_seconds: float


class Stopwatch:
    """Starts when it is made, at ``started`` of ``perf_counter``.

    The processor's time tells engines apart on a busy machine too.
    """

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self._worked = time.process_time()

    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.started

    def finish(self, times: Times) -> Run:
        """The run that ends now."""
        return Run(times, time.process_time() - self._worked)


@dataclass(frozen=True)
class ChatRequest:
    """A prompt in token ids and how long its answer becomes."""

    prompt_ids: tuple[int, ...]
    max_new_tokens: int


def make_requests(
    count: int, *, is_quick: bool, vocabulary: int = _VOCABULARY
) -> list[ChatRequest]:
    """The same requests in every run of a model; quick ones have a quarter of the tokens."""
    dice = random.Random(7)  # noqa: S311 - a workload, not a secret
    divisor, end = (4 if is_quick else 1), min(50_000, vocabulary)
    return [
        ChatRequest(
            tuple(dice.randrange(300, end) for _ in range(dice.randint(20, 400) // divisor)),
            dice.randint(20, 120) // divisor,
        )
        for _ in range(count)
    ]


def save_model(folder: Path) -> Path:
    """Write the model and a byte-level tokenizer of its size; the words mean nothing."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [_END, *letters, *(f"Ġ{i:05}" for i in range(_VOCABULARY - len(letters) - 1))]
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # transformers publishes no types for it.
    fast: Any = PreTrainedTokenizerFast
    names = dict.fromkeys(("bos_token", "eos_token", "unk_token"), _END)
    fast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=_VOCABULARY, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder

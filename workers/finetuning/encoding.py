"""Examples as token ids with the labels that decide what is learnt."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from workers.finetuning.chat import render_segments
from workers.finetuning.corpus.documents import Conversation, Example, PlainText, Turn
from workers.finetuning.corpus.report import TokenCount

# What cross entropy leaves out, in torch and transformers alike.
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Encoded:
    """One stretch of tokens that attends only within itself.

    Attributes:
        input_ids: int32, shape ``(length,)``.
        labels: int32, same shape; position ``i`` holds the token at ``i`` where it is learnt
            from what stands before it, else :data:`IGNORED`. The first is always ignored.
        over_long: whether something had to be left out or cut.
    """

    input_ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    over_long: bool = False

    def __len__(self) -> int:
        return len(self.input_ids)


class ExampleEncoder:
    """Encodes with the base's tokenizer into stretches no longer than a block.

    Args:
        tokenizer: must have a chat template when conversations are to be encoded.
        block_size: tokens in a packed row.
        persona: the system turn of conversations that have none; empty adds none.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, block_size: int, persona: str = ""
    ) -> None:
        self._tokenizer = tokenizer
        self._block_size = block_size
        self._persona = persona
        self._special = frozenset(tokenizer.all_special_ids)
        self._eos = tokenizer.eos_token_id

    def encode(self, example: Example) -> Iterator[Encoded]:
        """The stretches of one example. Running text gives several where it is long."""
        if isinstance(example, PlainText):
            yield from self._encode_text(example.text)
        else:
            yield self._encode_conversation(self._with_persona(example))

    def count(self, example: Example) -> TokenCount:
        """Tokens of an example, for the report."""
        tokens = trained = 0
        over_long = False
        for encoded in self.encode(example):
            tokens += len(encoded)
            trained += int((encoded.labels != IGNORED).sum())
            over_long = over_long or encoded.over_long
        return TokenCount(tokens, trained, over_long)

    def _encode_text(self, text: str) -> Iterator[Encoded]:
        ids = self._ids(text, special=True)
        if self._eos is not None and (not ids or ids[-1] != self._eos):
            ids.append(self._eos)
        # Neighbouring stretches share one token, so that every token but the first is learnt.
        for start in range(0, max(1, len(ids) - 1), self._block_size - 1):
            stretch = np.array(ids[start : start + self._block_size], np.int32)
            yield Encoded(stretch, _ignore_first(stretch.copy()))

    def _with_persona(self, example: Conversation) -> Conversation:
        if not self._persona or example.turns[0].role == "system":
            return example
        return Conversation((Turn("system", self._persona), *example.turns))

    def _encode_conversation(self, example: Conversation) -> Encoded:
        shortened = example
        while True:
            encoded = self._render(shortened)
            if len(encoded) <= self._block_size:
                return replace(encoded, over_long=shortened is not example)
            rest = _without_oldest_exchange(shortened)
            if rest is None:
                return self._cut(encoded)
            shortened = rest

    def _render(self, example: Conversation) -> Encoded:
        ids: list[int] = []
        labels: list[int] = []
        for text, learnt in render_segments(self._tokenizer, example.turns):
            piece = self._ids(text)
            ids.extend(piece)
            labels.extend(piece if learnt else [IGNORED] * len(piece))
        if self._eos is not None and not self._special.intersection(ids[-2:]):
            ids.append(self._eos)
            labels.append(self._eos)
        return Encoded(np.array(ids, np.int32), _ignore_first(np.array(labels, np.int32)))

    def _cut(self, encoded: Encoded) -> Encoded:
        """Half a block of the question's end at most, then as much of the answer as fits."""
        learnt = np.flatnonzero(encoded.labels != IGNORED)
        first = int(learnt[0]) if len(learnt) else len(encoded)
        start = max(0, min(first - self._block_size // 2, len(encoded) - self._block_size))
        window = slice(start, start + self._block_size)
        labels = _ignore_first(encoded.labels[window].copy())
        return Encoded(encoded.input_ids[window], labels, over_long=True)

    def _ids(self, text: str, *, special: bool = False) -> list[int]:
        # A long text is cut into blocks here, so the tokenizer's warning about it is moot.
        return list(self._tokenizer(text, add_special_tokens=special, verbose=False).input_ids)


def _ignore_first(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    labels[:1] = IGNORED
    return labels


def _without_oldest_exchange(example: Conversation) -> Conversation | None:
    """The conversation without its first question and answer; None where only one is left."""
    turns = list(example.turns)
    system = turns[:1] if turns[0].role == "system" else []
    spoken = turns[len(system) :]
    answers = [i for i, turn in enumerate(spoken) if turn.role == "assistant"]
    if len(answers) < 2:
        return None
    return Conversation((*system, *spoken[answers[0] + 1 :]))

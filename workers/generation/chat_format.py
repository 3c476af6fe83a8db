"""From a conversation to the token ids of a prompt that fits the model's window."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from core.conversations.utterances import TEXT
from core.errors import InvalidInputError
from workers.generation.messages import NAMELESS, Turn, clean_name, messages_of
from workers.generation.prompt_encoding import PromptEncoder

BOT_NAME = "Perroquet"
# A line of a member's text that looks like somebody else's turn.
_LOOKS_LIKE_TURN = re.compile(r"\n(?=[^\n:]{1,32}:)")


@dataclass(frozen=True)
class Prompt:
    """What a model is to go on from.

    Attributes:
        token_ids: end where the answer begins.
        stop: strings that end the answer.
        unread_tokens: of a text's beginning, for which there was no room.
    """

    token_ids: tuple[int, ...]
    stop: tuple[str, ...]
    unread_tokens: int = 0


def give_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a tokenizer without a chat template the plain one with speaker tags.

    ``save_pretrained`` then keeps it beside the model. Where the tokenizer begins its texts with a
    token of their own, so does the template.
    """
    if not tokenizer.chat_template:
        begins = _begins_with_token(tokenizer)
        tokenizer.chat_template = ("{{ bos_token }}" if begins else "") + _speaker_tags()


def _begins_with_token(tokenizer: PreTrainedTokenizerBase) -> bool:
    return bool(tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id])


class ChatFormat:
    """Renders conversations with a tokenizer's chat template. Thread-safe.

    Members cannot forge control tokens: what they write is encoded as plain text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        give_template(tokenizer)
        self._tokenizer = tokenizer
        self._begin = [tokenizer.bos_token_id] if _begins_with_token(tokenizer) else []
        self._encoder = PromptEncoder(tokenizer)
        self._has_speaker_tags = str(tokenizer.chat_template).endswith(_speaker_tags())

    def fit(
        self, turns: Sequence[Turn], *, persona: str, context_window: int, max_new_tokens: int
    ) -> Prompt:
        """Render the newest turns that leave room for the answer.

        Whole turns go, oldest first. A last turn that is too long by itself loses its beginning.

        Args:
            turns: the conversation; the last turn is the one to answer.
            persona: what the model is told of itself; models with speaker tags are told nothing.
            context_window: how many tokens the model can see.
            max_new_tokens: the room to leave; at most half the window is left.

        Raises:
            InvalidInputError: there are no turns.
        """
        if not turns:
            raise InvalidInputError("There is no message to answer.")
        room = context_window - min(max_new_tokens, context_window // 2)
        if turns[0].role == TEXT:
            return self._fit_text(turns[0].text, room)
        persona = self._encoder.guard(persona)
        spoken = [self._clean(turn) for turn in turns]
        kept, token_ids = self._newest_that_fit(spoken, persona, room)
        while len(token_ids) > room and kept[0].text:
            kept = [self._without_beginning(kept[0], len(token_ids) - room)]
            token_ids = self._render(kept, persona)
        # Only a template that is itself longer than the window is still too long.
        return Prompt(tuple(token_ids[-room:]), self._stops(spoken))

    def _fit_text(self, text: str, room: int) -> Prompt:
        """A text as it stands in training, from its last tokens on where it is too long. One that
        has no beginning begins where documents do."""
        token_ids = self._begin + self._encoder.encode(text)
        if not token_ids:
            ends = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
            token_ids = [one for one in ends if isinstance(one, int)][:1]
        return Prompt(tuple(token_ids[-room:]), (), max(0, len(token_ids) - room))

    def _newest_that_fit(
        self, turns: list[Turn], persona: str, room: int
    ) -> tuple[list[Turn], list[int]]:
        """The longest end of the conversation that fits, at least its last turn; its token ids."""
        too_many, fewest = 0, len(turns) - 1
        # Fewer turns make fewer tokens, so the border is found by halving.
        best = turns[fewest:]
        best_ids = self._render(best, persona)
        if len(best_ids) > room:
            return best, best_ids
        first = too_many
        while first < fewest:
            token_ids = self._render(turns[first:], persona)
            if len(token_ids) <= room:
                fewest, best, best_ids = first, turns[first:], token_ids
            else:
                too_many = first + 1
            first = (too_many + fewest) // 2
        return best, best_ids

    def _without_beginning(self, turn: Turn, surplus_tokens: int) -> Turn:
        shorter = self._encoder.without_beginning(turn.text, surplus_tokens)
        return replace(turn, text=shorter if len(shorter) < len(turn.text) else "")

    def _render(self, turns: list[Turn], persona: str) -> list[int]:
        messages = self._messages(turns)
        if self._has_speaker_tags or not persona:
            return self._apply(messages)
        try:
            return self._apply([{"role": "system", "content": persona}, *messages])
        except TemplateError:
            # Some templates know no system role; then the first turn says it.
            first = {**messages[0], "content": f"{persona}\n\n{messages[0]['content']}"}
            return self._apply([first, *messages[1:]])

    def _apply(self, messages: list[dict[str, str]]) -> list[int]:
        text = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return self._encoder.encode(str(text))

    def _messages(self, turns: list[Turn]) -> list[dict[str, str]]:
        """Turns as the template wants them: roles alternate, names only where several speak."""
        if self._has_speaker_tags:
            return [{"role": t.role, "name": t.name, "content": t.text} for t in turns]
        return messages_of(turns)

    def _stops(self, turns: list[Turn]) -> tuple[str, ...]:
        """The strings at which the reply would begin to speak for somebody."""
        if not self._has_speaker_tags:
            return ()
        names = {turn.name for turn in turns if turn.role == "user"} | {BOT_NAME, NAMELESS}
        return tuple(sorted(f"\n{name}:" for name in names))

    def _clean(self, turn: Turn) -> Turn:
        text = self._encoder.guard(turn.text)
        if self._has_speaker_tags:
            text = _LOOKS_LIKE_TURN.sub("\n ", text)
        return Turn(turn.role, clean_name(turn.name), text)


def _speaker_tags() -> str:
    resource: Any = files("workers.generation.templates").joinpath("speaker_tags.jinja")
    return str(resource.read_text(encoding="utf-8"))

"""From a conversation to the token ids of a prompt that fits the model's window."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

BOT_NAME = "Perroquet"
_MAX_NAME_LENGTH = 32
# What Discord lets into a name and a transcript must not contain.
_NOT_IN_NAMES = re.compile(r"[\s:<>|]+")
_INVISIBLE = "\u200b"


@dataclass(frozen=True)
class Turn:
    """One message. ``role`` is ``user`` or ``assistant``; ``name`` is who said it."""

    role: str
    name: str
    text: str


@dataclass(frozen=True)
class Prompt:
    """Token ids that end where the answer begins, and the strings that end the answer."""

    token_ids: tuple[int, ...]
    stop: tuple[str, ...]


def give_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a tokenizer without a chat template the plain one with speaker tags.

    ``save_pretrained`` then keeps it beside the model.
    """
    if not tokenizer.chat_template:
        tokenizer.chat_template = _speaker_tags()


class ChatFormat:
    """Renders conversations with a tokenizer's chat template.

    Members cannot forge control tokens: the special tokens' strings are broken up by an invisible
    character wherever a member writes them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        give_template(tokenizer)
        self._tokenizer = tokenizer
        self._has_speaker_tags = tokenizer.chat_template == _speaker_tags()
        specials = {
            str(token) for token in tokenizer.added_tokens_decoder.values() if token.special
        }
        self._specials = sorted({*specials, *tokenizer.all_special_tokens}, key=len, reverse=True)

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
        """
        room = context_window - min(max_new_tokens, context_window // 2)
        kept = [self._clean(turn) for turn in turns]
        while True:
            token_ids = self._render(kept, persona)
            if len(token_ids) <= room:
                return Prompt(tuple(token_ids), self._stops(kept))
            if len(kept) > 1:
                kept = kept[1:]
            elif len(kept[0].text) <= 1:
                return Prompt(tuple(token_ids[-room:]), self._stops(kept))
            else:
                kept = [self._without_beginning(kept[0], len(token_ids) - room)]

    def _without_beginning(self, turn: Turn, surplus: int) -> Turn:
        ids = self._tokenizer.encode(turn.text, add_special_tokens=False)
        text = str(self._tokenizer.decode(ids[surplus:])) if surplus < len(ids) else ""
        shorter = text if len(text) < len(turn.text) else turn.text[1:]
        return replace(turn, text=shorter or turn.text[-1:])

    def _render(self, turns: list[Turn], persona: str) -> list[int]:
        messages = self._messages(turns)
        system = [{"role": "system", "content": persona}] if persona else []
        if self._has_speaker_tags:
            system = []
        try:
            return self._apply(system + messages)
        except TemplateError:
            # Some templates know no system role; then the first turn says it.
            first = {**messages[0], "content": f"{persona}\n\n{messages[0]['content']}"}
            return self._apply([first, *messages[1:]])

    def _apply(self, messages: list[dict[str, str]]) -> list[int]:
        text = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        ids: list[int] = self._tokenizer.encode(str(text), add_special_tokens=False)
        return ids

    def _messages(self, turns: list[Turn]) -> list[dict[str, str]]:
        """Turns as the template wants them: roles alternate, names only where several speak."""
        if self._has_speaker_tags:
            return [{"role": t.role, "name": t.name, "content": t.text} for t in turns]
        several = len({turn.name for turn in turns if turn.role == "user"}) > 1
        messages: list[dict[str, str]] = []
        for turn in turns:
            said = f"{turn.name}: {turn.text}" if several and turn.role == "user" else turn.text
            if messages and messages[-1]["role"] == turn.role:
                messages[-1]["content"] += "\n" + said
            else:
                messages.append({"role": turn.role, "content": said})
        # A template that begins with the user must not be given the bot's half of an old exchange.
        return messages[1:] if len(messages) > 1 and messages[0]["role"] != "user" else messages

    def _stops(self, turns: list[Turn]) -> tuple[str, ...]:
        """The strings at which the reply would begin to speak for somebody."""
        if not self._has_speaker_tags:
            return ()
        names = {turn.name for turn in turns if turn.role == "user"} | {BOT_NAME, "User"}
        return tuple(sorted(f"\n{name}:" for name in names))

    def _clean(self, turn: Turn) -> Turn:
        name = _NOT_IN_NAMES.sub(" ", self._defused(turn.name)).strip()[:_MAX_NAME_LENGTH]
        return Turn(turn.role, name or "User", self._defused(turn.text))

    def _defused(self, text: str) -> str:
        for special in self._specials:
            if special in text:
                text = text.replace(special, special[0] + _INVISIBLE + special[1:])
        return text


def _speaker_tags() -> str:
    resource: Any = files("workers.generation.templates").joinpath("speaker_tags.jinja")
    return str(resource.read_text(encoding="utf-8"))

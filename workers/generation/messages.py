"""A conversation as the messages that chat models are trained on. Plain Python."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

NAMELESS = "User"
_MAX_NAME_LENGTH = 32
# What Discord lets into a name, and what a transcript and a control token are made of.
_NOT_IN_NAMES = re.compile(r"[\s:<>|｜\[\]]+")


@dataclass(frozen=True)
class Turn:
    """One message. ``role`` is ``user`` or ``assistant``; ``name`` is who said it.

    A lone :data:`~core.conversations.answers.TEXT` is the beginning of a text to go on with.
    """

    role: str
    name: str
    text: str


def clean_name(name: str) -> str:
    """A member's name as a model may see it: it ends no line and no turn, and is no token."""
    return _NOT_IN_NAMES.sub(" ", name).strip()[:_MAX_NAME_LENGTH].strip() or NAMELESS


def messages_of(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """Messages of alternating roles that begin with the user; names only where several speak."""
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

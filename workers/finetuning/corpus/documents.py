"""What every reader yields, whatever the file looked like."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One speaker's words.

    Attributes:
        role: who speaks, in the words of chat templates.
        text: what is said.
        name: the speaker's display name, empty where the corpus names nobody.
        trains: whether an assistant's turn is learnt (OpenAI's ``weight`` is 0 where not).
    """

    role: Role
    text: str
    name: str = ""
    trains: bool = True


@dataclass(frozen=True, slots=True)
class PlainText:
    """Running text; every token is learnt."""

    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order; only the assistant's are learnt."""

    turns: tuple[Turn, ...]

    @property
    def text(self) -> str:
        """All words, one turn a line."""
        return "\n".join(turn.text for turn in self.turns)


Example = PlainText | Conversation


@dataclass(frozen=True, slots=True)
class Document:
    """Examples that belong together: they fall into the same split and never into two.

    Attributes:
        examples: at least one.
        file: the name a person gave, with the member's name behind it for an archive.
        line: where the document begins, counted from 1.
    """

    examples: tuple[Example, ...]
    file: str
    line: int

    @property
    def text(self) -> str:
        """All words of all examples."""
        return "\n".join(example.text for example in self.examples)

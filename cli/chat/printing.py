"""Text of a person or of a model on a terminal."""

from collections.abc import Callable

from core.errors import WrongUsageError

_KEPT = "\n\t"


def printable(text: str) -> str:
    """Text without control characters: a model's words must not steer the terminal."""
    return "".join(c for c in text if c in _KEPT or not _is_control(c))


def check_utf8(text: str) -> None:
    """Refuse what a shell gave in another encoding: Python keeps such bytes as lone surrogates.

    Raises:
        WrongUsageError: the text is not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise WrongUsageError(
            f"The text is not UTF-8, from its character {exc.start + 1} on."
        ) from exc


class GrowingText:
    """Writes a text that grows, each part once."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._shown = ""

    def show(self, text: str) -> None:
        """Write what is new. A text that is another one begins on a line of its own."""
        text = printable(text)
        if not text.startswith(self._shown):
            self._write("\n")
            self._shown = ""
        self._write(text[len(self._shown) :])
        self._shown = text

    def end(self) -> None:
        """End the line."""
        if self._shown:
            self._write("\n")


def _is_control(character: str) -> bool:
    code = ord(character)
    return (
        code < 0x20 or 0x7F <= code < 0xA0 or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    )

"""Token streams: text on its way from workers to the bot process that shows it.

One Redis stream for each bot process, trimmed. The stream is for the eyes: what it loses or doubles
does no harm, because the final text is read from SQL.
"""

from dataclasses import dataclass
from typing import Self

from core.errors import PerroquetError

_FIELDS = ("job", "token", "offset", "text", "end")


class MalformedEntryError(PerroquetError):
    """Something wrote to the stream that is not a token entry."""

    code = "malformed-entry"


@dataclass(frozen=True)
class StreamEntry:
    """A piece of an answer.

    ``offset`` is how many characters of the answer come before ``text``; a gap or another
    ``token`` (the job was started again) is thereby seen. ``is_end``: the job has ended in SQL.
    """

    job_id: str
    token: int
    offset: int
    text: str
    is_end: bool = False

    def to_fields(self) -> dict[str, str]:
        """The entry as Redis keeps it."""
        return {
            "job": self.job_id,
            "token": str(self.token),
            "offset": str(self.offset),
            "text": self.text,
            "end": "1" if self.is_end else "0",
        }

    @classmethod
    def from_fields(cls, fields: dict[bytes, bytes]) -> Self:
        """Read an entry.

        Raises:
            MalformedEntryError: a field is missing or out of form.
        """
        try:
            job, token, offset, text, end = (fields[name.encode()].decode() for name in _FIELDS)
            return cls(job, int(token), int(offset), text, end == "1")
        except (KeyError, ValueError) as exc:
            raise MalformedEntryError("A stream entry is malformed.") from exc


class StreamedText:
    """Puts the pieces of one answer together. Text shown never goes back within one token."""

    def __init__(self) -> None:
        self.token = 0
        self.text = ""

    def add(self, entry: StreamEntry) -> bool:
        """Take in a piece.

        Returns:
            Whether the text changed. Pieces of an older attempt, and pieces after a gap, are left
            out.
        """
        if entry.token < self.token:
            return False
        if entry.token > self.token:
            self.token, self.text = entry.token, ""
        if entry.offset > len(self.text):
            return False
        text = self.text[: entry.offset] + entry.text
        if len(text) <= len(self.text):
            return False
        self.text = text
        return True

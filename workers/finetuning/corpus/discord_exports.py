"""DiscordChatExporter's messages, cut into conversations where the channel fell silent."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from workers.finetuning.corpus.documents import Conversation, Document, Turn
from workers.finetuning.corpus.records import Place

SILENCE_SECONDS = 3600
# A channel that never falls silent is cut all the same: a reader must not hold it whole.
MAX_TURNS = 64
CSV_COLUMNS = frozenset({"authorid", "author", "date", "content"})
_SAID = frozenset({"Default", "Reply", ""})


@dataclass(frozen=True, slots=True)
class ExportedMessage:
    """One message of an export; ``seconds`` counts from the epoch, 0 where unknown."""

    author: str
    is_bot: bool
    text: str
    seconds: float
    line: int


def from_json(record: object, place: Place) -> ExportedMessage | None:
    """A message of the JSON export; None for one that nobody said (a join, a pin).

    Raises:
        CorpusError: it has no author or its content is no text.
    """
    if not isinstance(record, dict):
        raise place.refuse("messages")
    author, content = record.get("author"), record.get("content")
    if not isinstance(author, dict) or not isinstance(content, str):
        raise place.refuse("messages.author" if isinstance(content, str) else "messages.content")
    if str(record.get("type", "")) not in _SAID:
        return None
    name = author.get("nickname") or author.get("name") or ""
    return ExportedMessage(
        str(name), author.get("isBot") is True, content, _seconds(record), place.line
    )


def from_row(row: dict[str, str], place: Place) -> ExportedMessage:
    """A message of the CSV export, which does not tell bots from people."""
    values: dict[str, Any] = {"timestamp": row.get("date", "")}
    return ExportedMessage(
        row.get("author", ""),
        is_bot=False,
        text=row.get("content", ""),
        seconds=_seconds(values),
        line=place.line,
    )


def conversations(messages: Iterable[ExportedMessage], file: str) -> Iterator[Document]:
    """Documents of up to :data:`MAX_TURNS` turns without a silence of an hour.

    A bot's words are the answers where there is a bot; else whoever spoke last is who answers.
    """
    stretch: list[ExportedMessage] = []
    for message in messages:
        silent = stretch and abs(message.seconds - stretch[-1].seconds) > SILENCE_SECONDS
        if silent or len(stretch) >= MAX_TURNS:
            yield _document(stretch, file)
            stretch = []
        stretch.append(message)
    if stretch:
        yield _document(stretch, file)


def _document(stretch: list[ExportedMessage], file: str) -> Document:
    merged = [
        replace(said[0], text="\n".join(one.text for one in said if one.text))
        for said in (list(group) for _, group in groupby(stretch, key=lambda one: one.author))
    ]
    has_bot = any(message.is_bot for message in merged)
    answering = {m.author for m in merged if m.is_bot} if has_bot else {merged[-1].author}
    turns = tuple(
        Turn("assistant" if message.author in answering else "user", message.text, message.author)
        for message in merged
    )
    return Document((Conversation(turns),), file, stretch[0].line)


def _seconds(record: dict[str, Any]) -> float:
    try:
        return datetime.fromisoformat(str(record.get("timestamp"))).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0

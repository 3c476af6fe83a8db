"""One record (a JSON object, a table's row) turned into an example, recognised by its fields."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.finetuning.corpus.documents import Conversation, Example, PlainText, Role, Turn
from workers.finetuning.corpus.errors import CorpusError

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
# Roles that carry no words a person would read.
_SKIPPED_ROLES = frozenset({"tool", "function", "observation", "function_call", "ipython"})
_PAIRS = (
    ("instruction", "output"),
    ("instruction", "response"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("input", "target"),
    ("input", "output"),
    ("source", "target"),
    ("question", "answer"),
)
_TEXTS = ("text", "content", "body")
_SHOWN_FIELDS = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands, for errors: the file and its line, or the record's number."""

    file: str
    line: int

    def refuse(self, field: str) -> CorpusError:
        """The error for a field that does not hold what its format says."""
        return CorpusError("value", file=self.file, line=self.line, field=field)


def read_record(record: object, place: Place) -> tuple[Example, ...]:
    """The examples of one record; usually one.

    Raises:
        CorpusError: no known format has these fields, or a field holds something else.
    """
    if isinstance(record, str):
        return (PlainText(record),)
    if not isinstance(record, dict):
        raise CorpusError("record", file=place.file, line=place.line)
    fields = {str(key).strip().lower(): value for key, value in record.items()}
    for known in _READERS:
        examples = known(fields, place)
        if examples is not None:
            return examples
    raise CorpusError("fields", file=place.file, line=place.line, found=show_fields(record))


def show_fields(names: Mapping[Any, Any] | Sequence[str]) -> str:
    """The first field names, short enough for a sentence."""
    shown = [str(name)[:24] for name in list(names)[:_SHOWN_FIELDS]]
    text = ", ".join("".join(c if c.isprintable() else "�" for c in name) for name in shown)
    return text + (", …" if len(names) > _SHOWN_FIELDS else "") if names else "(none)"


def alternate(texts: Sequence[str], names: Sequence[str] | None = None) -> Conversation:
    """A dialogue of two nameless people; whoever speaks last is who answers."""
    last = len(texts) - 1
    speakers = names or ["" for _ in texts]
    return Conversation(
        tuple(
            Turn("assistant" if (last - i) % 2 == 0 else "user", text, speakers[i])
            for i, text in enumerate(texts)
        )
    )


def pair(prompt: str, answer: str, system: str = "") -> Conversation:
    """A question and its answer."""
    turns = [Turn("user", prompt), Turn("assistant", answer)]
    return Conversation(tuple([Turn("system", system), *turns] if system else turns))


def _messages(fields: dict[str, Any], place: Place) -> tuple[Example, ...] | None:
    """OpenAI's ``messages`` and ShareGPT's ``conversations``, whose turns differ in names only."""
    for field in ("messages", "conversations", "conversation"):
        value = fields.get(field)
        if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
            return (Conversation(read_turns(value, field, place)),)
        if isinstance(value, list) and field != "messages":
            return (alternate([_text(entry, field, place) for entry in value]),)
        if value is not None:
            raise place.refuse(field)
    return None


def read_turns(entries: Sequence[Any], field: str, place: Place) -> tuple[Turn, ...]:
    """Turns from ``role``/``content`` or ``from``/``value`` objects.

    Raises:
        CorpusError: an entry has no known role or no text.
    """
    turns = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise place.refuse(field)
        role = str(entry.get("role", entry.get("from", ""))).lower()
        if role in _SKIPPED_ROLES:
            continue
        if role not in _ROLES:
            raise place.refuse(f"{field}.role")
        content = entry.get("content", entry.get("value", entry.get("text")))
        name = entry.get("name")
        turns.append(
            Turn(
                _ROLES[role],
                _content(content, f"{field}.content", place),
                name if isinstance(name, str) else "",
                trains=entry.get("weight", 1) != 0 and entry.get("train", True) is not False,
            )
        )
    return tuple(turns)


def _content(value: Any, field: str, place: Place) -> str:
    """A text, or OpenAI's list of parts of which the text parts count."""
    if value is None:
        return ""
    if isinstance(value, list):
        parts = [part.get("text", "") for part in value if isinstance(part, dict)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return _text(value, field, place)


def _text(value: Any, field: str, place: Place) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise place.refuse(field)
    return str(value)


def _dailydialog(fields: dict[str, Any], place: Place) -> tuple[Example, ...] | None:
    for field in ("dialog", "dialogue", "dialogs", "utterances", "turns"):
        value = fields.get(field)
        if not isinstance(value, list) or "personality" in fields:
            continue
        if value and all(isinstance(entry, dict) for entry in value):
            texts = [entry.get("text", entry.get("utterance")) for entry in value]
            return (alternate([_text(text, field, place) for text in texts]),)
        return (alternate([_text(entry, field, place) for entry in value]),)
    return None


def _persona_chat(fields: dict[str, Any], place: Place) -> tuple[Example, ...] | None:
    """Persona-Chat as JSON: the last candidate of the longest history is what was said."""
    utterances, persona = fields.get("utterances"), fields.get("personality")
    if not isinstance(utterances, list) or not isinstance(persona, list):
        return None
    if not utterances:
        return (Conversation(()),)
    last = utterances[-1]
    history = last.get("history") if isinstance(last, dict) else None
    candidates = last.get("candidates") if isinstance(last, dict) else None
    if not isinstance(history, list) or not isinstance(candidates, list) or not candidates:
        raise place.refuse("utterances")
    said = [*history, candidates[-1]]
    dialogue = alternate([_text(entry, "utterances", place) for entry in said])
    about = "\n".join(_text(line, "personality", place) for line in persona)
    return (Conversation((Turn("system", about), *dialogue.turns)),)


def _pairs(fields: dict[str, Any], place: Place) -> tuple[Example, ...] | None:
    for prompt_field, answer_field in _PAIRS:
        if prompt_field not in fields or answer_field not in fields:
            continue
        prompt, answer = fields[prompt_field], fields[answer_field]
        if isinstance(prompt, list) and isinstance(answer, list):
            turns = read_turns([*prompt, *answer], prompt_field, place)
            return (Conversation(turns),)
        question = _text(prompt if prompt is not None else "", prompt_field, place)
        extra = fields.get("input") if prompt_field == "instruction" else None
        if extra:
            question = f"{question}\n\n{_text(extra, 'input', place)}"
        system = fields.get("system") or ""
        reply = _text(answer if answer is not None else "", answer_field, place)
        return (pair(question, reply, _text(system, "system", place)),)
    return None


def _plain(fields: dict[str, Any], place: Place) -> tuple[Example, ...] | None:
    for field in _TEXTS:
        if field in fields:
            value = fields[field]
            return (PlainText("" if value is None else _text(value, field, place)),)
    return None


_Reader = Callable[[dict[str, Any], Place], tuple[Example, ...] | None]
_READERS: tuple[_Reader, ...] = (_messages, _persona_chat, _dailydialog, _pairs, _plain)

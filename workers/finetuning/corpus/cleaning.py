"""Words made fit for a tokenizer: one line end, one Unicode form, all of it encodable."""

import re
import unicodedata
from dataclasses import replace

from workers.finetuning.corpus.documents import Conversation, Document, Example, PlainText, Turn

# Control characters carry no words; tab and line feed do.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_BLANK_LINES = re.compile(r"\n{4,}")


def clean_text(text: str) -> str:
    """The text in NFC with ``\\n`` line ends, without control characters or lone surrogates."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.encode("utf-8", errors="replace").decode("utf-8")
    text = unicodedata.normalize("NFC", _CONTROLS.sub("", text))
    return _BLANK_LINES.sub("\n\n\n", text).strip()


def clean_document(document: Document) -> tuple[Document | None, int]:
    """The document with clean words, and how many of its examples were empty.

    A conversation is cleaned to one that can be learnt: empty turns go, neighbours of one role
    become one, nothing follows the last answer, and what has no question and answer is empty.
    """
    kept = [cleaned for example in document.examples if (cleaned := _clean_example(example))]
    empty = len(document.examples) - len(kept)
    return (replace(document, examples=tuple(kept)) if kept else None), empty


def _clean_example(example: Example) -> Example | None:
    if isinstance(example, PlainText):
        text = clean_text(example.text)
        return PlainText(text) if text else None
    turns = _merge([replace(turn, text=clean_text(turn.text)) for turn in example.turns])
    while turns and turns[-1].role != "assistant":
        turns.pop()
    # What is said before anybody asked answers nothing, and templates want a question first.
    opening = 1 if turns and turns[0].role == "system" else 0
    while len(turns) > opening and turns[opening].role == "assistant":
        turns.pop(opening)
    if not any(turn.role == "assistant" and turn.trains for turn in turns):
        return None
    return Conversation(tuple(turns)) if any(turn.role == "user" for turn in turns) else None


def _merge(turns: list[Turn]) -> list[Turn]:
    """Neighbours of one role as one turn, and a single system turn in front: chat templates of
    many families refuse anything else."""
    system = "\n".join(turn.text for turn in turns if turn.role == "system" and turn.text)
    merged = [Turn("system", system)] if system else []
    for turn in turns:
        if turn.role == "system" or not turn.text:
            continue
        last = merged[-1] if merged else None
        if last is not None and last.role == turn.role:
            merged[-1] = replace(
                last, text=f"{last.text}\n{turn.text}", trains=last.trains and turn.trains
            )
        else:
            merged.append(turn)
    return merged

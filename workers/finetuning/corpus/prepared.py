"""The prepared corpus: a folder with one JSON Lines file for each split.

Each line is an ordinary record, ``{"text": …}`` or OpenAI's ``{"messages": […]}``, so any other
trainer reads it too.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workers.finetuning.corpus.documents import Conversation, Document, Example, PlainText
from workers.finetuning.corpus.records import Place, read_record
from workers.finetuning.corpus.splitting import Split

_BLOCK_BYTES = 1 << 20


def split_path(folder: Path, split: Split) -> Path:
    """The file of one split."""
    return folder / f"{split}.jsonl"


def to_record(example: Example) -> dict[str, Any]:
    """The example as a JSON object."""
    if isinstance(example, PlainText):
        return {"text": example.text}
    messages = []
    for turn in example.turns:
        message: dict[str, Any] = {"role": turn.role, "content": turn.text}
        if turn.name:
            message["name"] = turn.name
        if not turn.trains:
            message["weight"] = 0
        messages.append(message)
    return {"messages": messages}


def to_line(document: Document) -> str:
    """The document as JSON lines, one for each example."""
    return "".join(
        json.dumps(to_record(example), ensure_ascii=False) + "\n" for example in document.examples
    )


def read_split(folder: Path, split: Split) -> Iterator[Example]:
    """The examples of one split in order; none where the file is missing.

    Raises:
        CorpusError: the file was changed since it was prepared.
    """
    path = split_path(folder, split)
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            yield from read_record(json.loads(line), Place(path.name, number))


def hash_prepared(folder: Path) -> str:
    """SHA-256 over all splits: what a model card names its corpus by."""
    digest = hashlib.sha256()
    for split in Split:
        path = split_path(folder, split)
        digest.update(f"{split}\n".encode())
        if not path.exists():
            continue
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def is_conversation(example: Example) -> bool:
    """Whether only answers are learnt from it."""
    return isinstance(example, Conversation)

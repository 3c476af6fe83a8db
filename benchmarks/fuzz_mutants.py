"""Damaged and hostile corpora: a small valid file of every format, spoilt a few times and packed.

Everything follows from the seed and the number of a file, so that one which broke the reader can
be made again.
"""

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_PAIR = {"prompt": "Ça va ?", "completion": "Très bien, “merci” !"}
_CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}
_SHARED = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]}
_TASK = {"instruction": "Crie", "input": "plus fort", "output": "Coco ! +33 1 42 68 53 00"}
_DIALOG = {"dialog": ["Hi .", "Yes .", "Bye ."], "act": [1, 2, 1]}
_RECORDS: tuple[dict[str, Any], ...] = (_PAIR, _CHAT, _SHARED, _TASK, _DIALOG)
_EXPORT = {
    "guild": {"id": "1"},
    "channel": {"id": "2"},
    "messages": [
        {"type": "Default", "timestamp": "2024-01-01T10:00:00+00:00", "content": f"Line {i}",
         "author": {"name": "ab"[i % 2], "isBot": i % 2 == 1}}
        for i in range(25)
    ],
}  # fmt: skip
_PERSONA = {
    "train": [{"personality": ["x"], "utterances": [{"history": ["a"], "candidates": ["b"]}]}]
}
_SPLICES = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"{", b"[" * 200, b"}", b"\\", b"\\ud800", b",",
    b"\n", b"\r", b"\t", b"9" * 5000, b"-", b"null", b"NaN", b"__eou__", b"<|endoftext|>",
    b"\xc3", b"PK\x03\x04", b"\x1f\x8b\x08", b"a" * 30_000, b"1e999999", b"__proto__",
    b"a@" * 4000, b"+1 " * 3000, b"eyJ" * 3000, b"-----BEGIN PRIVATE KEY-----", b"e\xcc\x81" * 900,
)  # fmt: skip
_ENCODINGS = (
    "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "cp1252", "shift_jis", "utf-7",
)  # fmt: skip
_ENDINGS = ("txt", "md", "csv", "tsv", "json", "jsonl", "gz", "zip", "exe", "jsonl.gz", "")
_TRICKS = (
    "../../etc/passwd", "/etc/passwd", "C:\\x.txt", "..\\x.txt", "a/" * 300 + "x.txt", "\u202etxt",
    "", "a\x00b.txt", "con.txt", "./.", "__MACOSX/x",
)  # fmt: skip
_MOST_DAMAGE = 6


@dataclass(frozen=True, slots=True)
class Mutant:
    """A file as somebody might upload it."""

    name: str
    content: bytes


def originals() -> list[Mutant]:
    """One small valid file of every format, enough of it to be prepared."""
    records = [
        json.dumps({**record, "id": i}, ensure_ascii=False) for i, record in enumerate(_RECORDS * 3)
    ]
    pairs = [{**_PAIR, "prompt": f"Ça va {i} ?"} for i in range(15)]
    lines = "\n".join(json.dumps(pair, ensure_ascii=False) for pair in pairs)
    rows = "".join(f'"Bonjour {i}","Salut, toi {i}"\n' for i in range(15))
    story = "".join(f"Au jour {i}, le perroquet chante à lire.\n\n" for i in range(60))
    plain = [
        Mutant("records.jsonl", "\n".join(records).encode()),
        Mutant("a.jsonl", lines.encode()),
        Mutant("a.json", json.dumps(pairs, indent=1).encode()),
        Mutant("x.json", json.dumps(_EXPORT).encode()),
        Mutant("p.json", json.dumps(_PERSONA).encode()),
        Mutant("a.csv", ("input,target\n" + rows).encode()),
        Mutant("a.tsv", ("input,target\n" + rows).replace('","', '"\t"').encode("utf-16")),
        Mutant("e.csv", b"conv_id,utterance_idx,utterance\nh:0,1,Hi_comma_ you\nh:0,2,Yes\n"),
        Mutant("x.csv", b"AuthorID,Author,Date,Content\n1,al,2024-01-01,Hi\n2,bo,2024-01-01,Yo\n"),
        Mutant("a.txt", story.encode()),
        Mutant("a.md", ("# Coco\n\n" + story).encode()),
        Mutant("old.txt", story.replace("à", "œ").encode("cp1252")),
        Mutant("d.txt", b"".join(b"Hi %d . __eou__ Yes . __eou__\n" % i for i in range(15))),
        Mutant("p.txt", b"1 your persona: i fly.\n2 hi\tyo\n3 a\tb\n1 your persona: x\n2 c\td\n"),
    ]
    packed = [
        Mutant("a.jsonl.gz", gzip.compress(plain[1].content, mtime=0)),
        Mutant("a.zip", _zipped({f"dir/{file.name}": file.content for file in plain[:4]})),
    ]
    return plain + packed


def make_mutant(seed: int, number: int, valid: list[Mutant]) -> Mutant:
    """The file of a number: a valid one, damaged, sometimes written anew and sometimes packed.

    Args:
        seed: of the whole series.
        number: in the series.
        valid: what :func:`originals` gave.
    """
    chance = random.Random(f"{seed}:{number}")  # noqa: S311 (mutations, no secrets)
    original = chance.choice(valid)
    name, content = original.name, original.content
    if chance.random() < 0.15:
        content = _recoded(content, chance)
    content = _damaged(content, chance)
    if chance.random() < 0.1:
        name = f"renamed.{chance.choice(_ENDINGS)}"
    if chance.random() < 0.2:
        return chance.choice(_PACKERS)(name, content, chance)
    return Mutant(name, content)


def _damaged(content: bytes, chance: random.Random) -> bytes:
    """Spoil a file one to six times."""
    data = bytearray(content)
    for _ in range(chance.randint(1, _MOST_DAMAGE)):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.randint(1, 40))
        kind = chance.randrange(6)
        if kind == 0:
            data[at:to] = bytes(chance.randrange(256) for _ in range(to - at))
        elif kind == 1:
            del data[at:to]
        elif kind == 2:
            data[at:at] = chance.choice(_SPLICES)
        elif kind == 3:
            data[at:at] = data[at:to] * chance.choice((1, 2, 300))
        elif kind == 4:
            del data[at:]
        elif data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _recoded(content: bytes, chance: random.Random) -> bytes:
    """The text in another encoding than before; half of the time only its beginning."""
    text = content.decode("utf-8", "replace")
    cut = len(text) if chance.random() < 0.5 else chance.randrange(len(text) + 1)
    encoded = text[:cut].encode(chance.choice(_ENCODINGS), "replace")
    return encoded + text[cut:].encode()


def _zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _in_zip(name: str, content: bytes, chance: random.Random) -> Mutant:
    members = {f"{i}/{name or 'x'}": content for i in range(chance.choice((1, 2, 40)))}
    return Mutant("packed.zip", _damaged_sometimes(_zipped(members), chance))


def _in_gzip(name: str, content: bytes, chance: random.Random) -> Mutant:
    packed = gzip.compress(content, mtime=0) * chance.choice((1, 1, 2))
    return Mutant(f"{name}.gz", _damaged_sometimes(packed, chance))


def _nested(name: str, content: bytes, chance: random.Random) -> Mutant:
    inner = content
    for _ in range(chance.randint(2, 6)):
        inner = gzip.compress(inner, mtime=0) if chance.random() < 0.5 else _zipped({"x": inner})
    return Mutant(f"{name}.zip", inner)


def _tricky(name: str, content: bytes, chance: random.Random) -> Mutant:
    return Mutant("tricks.zip", _zipped({chance.choice(_TRICKS): content, name or "x": content}))


def _bomb(name: str, content: bytes, chance: random.Random) -> Mutant:
    line = (content[:1000].replace(b"\n", b" ") or b"a") + b"\n" * chance.randint(0, 1)
    unpacked = line * chance.choice((1000, 10_000))
    if chance.random() < 0.5:
        return Mutant(f"{name}.gz", gzip.compress(unpacked, mtime=0))
    return Mutant("bomb.zip", _zipped({name or "x": unpacked}))


def _damaged_sometimes(content: bytes, chance: random.Random) -> bytes:
    return _damaged(content, chance) if chance.random() < 0.5 else content


_PACKERS: tuple[Callable[[str, bytes, random.Random], Mutant], ...] = (
    _in_zip, _in_gzip, _nested, _tricky, _bomb,
)  # fmt: skip

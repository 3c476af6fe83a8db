"""Mutated corpora: ``python -m tests.workers.finetuning.corpus.fuzzing 10000 [seed]``.

Each file is a valid one of some format, damaged a few times, and must either be read or refused
with a :class:`CorpusError`, within a bound on time.
"""

import gzip
import io
import json
import random
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from workers.finetuning.corpus.errors import CorpusError
from workers.finetuning.corpus.files import CorpusFile
from workers.finetuning.corpus.limits import CorpusLimits
from workers.finetuning.corpus.reading import read_corpus

LIMITS = CorpusLimits(
    max_unpacked_bytes=200_000, max_line_characters=20_000, ratio_grace_bytes=20_000
)
MAX_SECONDS = 5.0
_PAIR = {"prompt": "Ça va ?", "completion": "Très bien, “merci” !"}
_CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}
_EXPORT = {
    "guild": {"id": "1"},
    "channel": {"id": "2"},
    "messages": [
        {"type": "Default", "timestamp": "2024-01-01T10:00:00+00:00", "content": f"Line {i}",
         "author": {"name": "ab"[i % 2], "isBot": i % 2 == 1}}
        for i in range(5)
    ],
}  # fmt: skip
_PERSONA = {
    "train": [{"personality": ["x"], "utterances": [{"history": ["a"], "candidates": ["b"]}]}]
}
_SPLICES = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"{", b"[" * 200, b"}", b"\\", b"\\ud800", b",",
    b"\n", b"\r", b"\t", b"9" * 5000, b"-", b"null", b"NaN", b"__eou__", b"<|endoftext|>",
    b"\xc3", b"PK\x03\x04", b"\x1f\x8b\x08", b"a" * 30_000, b"1e999999", b"__proto__",
)  # fmt: skip


def seeds() -> list[tuple[str, bytes]]:
    """One small valid file of every format."""
    lines = "\n".join(json.dumps(record, ensure_ascii=False) for record in (_PAIR, _CHAT) * 3)
    table = "input,target\n" + 'Bonjour,"Salut, toi"\n' * 5
    plain = [
        ("a.jsonl", lines.encode()),
        ("a.json", json.dumps([_PAIR, _CHAT] * 3, indent=1).encode()),
        ("x.json", json.dumps(_EXPORT).encode()),
        ("p.json", json.dumps(_PERSONA).encode()),
        ("a.csv", table.encode()),
        ("a.tsv", table.replace(",", "\t").encode("utf-16")),
        ("e.csv", b"conv_id,utterance_idx,utterance\nh:0,1,Hi_comma_ you\nh:0,2,Yes\n"),
        ("x.csv", b"AuthorID,Author,Date,Content\n1,al,2024-01-01,Hi\n2,bo,2024-01-01,Yo\n"),
        ("a.txt", "Un texte.\n\nEt un autre, à lire.\n".encode() * 20),
        ("a.txt", "Été à la plage, où l’œuvre naît.\n".encode("cp1252") * 20),
        ("d.txt", b"Hi . __eou__ Yes . __eou__\n" * 5),
        ("p.txt", b"1 your persona: i fly.\n2 hi\tyo\n3 a\tb\n1 your persona: x\n2 c\td\n"),
    ]
    return [*plain, *(_packed(plain))]


def _packed(plain: list[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    yield "a.jsonl.gz", gzip.compress(plain[0][1], mtime=0)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in plain[:3]:
            archive.writestr(f"dir/{name}", content)
    yield "a.zip", out.getvalue()


def mutate(content: bytes, chance: random.Random) -> bytes:
    """Damage a file one to six times."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 6)):
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
            index = chance.randrange(len(data))
            data[index] ^= 1 << chance.randrange(8)
    return bytes(data)


def fuzz(count: int, seed: int, folder: Path) -> Counter[str]:
    """Read ``count`` mutated files; returns how often each outcome was seen.

    Raises:
        Anything but CorpusError that reading raised; the file stays in ``folder``.
    """
    chance = random.Random(seed)  # noqa: S311 (mutations, no secrets)
    originals = seeds()
    outcomes: Counter[str] = Counter()
    path = folder / "mutant"
    for _ in range(count):
        name, content = chance.choice(originals)
        path.write_bytes(mutate(content, chance))
        began = time.monotonic()
        try:
            for document in read_corpus([CorpusFile(path, name)], LIMITS):
                assert document.examples
            outcomes["read"] += 1
        except CorpusError as exc:
            outcomes[str(exc.data["reason"])] += 1
        assert time.monotonic() - began < MAX_SECONDS, f"{name} took too long"
    return outcomes


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        arguments = [int(value) for value in sys.argv[1:]]
        found = fuzz(arguments[0], arguments[1] if len(arguments) > 1 else 0, Path(scratch))
    sys.stdout.write(f"{sum(found.values())} files, 0 crashes: {dict(found.most_common())}\n")

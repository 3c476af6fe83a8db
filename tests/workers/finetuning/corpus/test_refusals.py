"""What cannot be used is refused with file, line and reason, in bounded memory."""

import gzip
import io
import json
import resource
import tarfile
import zipfile
from pathlib import Path

import pytest

from workers.finetuning.corpus.errors import REASONS, CorpusError
from workers.finetuning.corpus.files import CorpusFile, Source
from workers.finetuning.corpus.limits import CorpusLimits
from workers.finetuning.corpus.reading import read_corpus, read_source


def refusal(tmp_path: Path, name: str, content: bytes, limits: CorpusLimits | None = None):
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(CorpusError) as caught:
        for _ in read_corpus([CorpusFile(path, name)], limits):
            pass
    assert str(caught.value).endswith(".")
    return caught.value.data


def archive(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            out.writestr(name, content)
    return packed.getvalue()


GOOD = b'{"text": "fine"}\n'
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
CASES = [
    ("a.txt", b"", "empty", 0),
    ("a.txt", b" \n\n", "empty", 0),
    ("a.json", b"[]", "no-records", 0),
    ("a.txt", PNG, "binary", 0),
    ("a.txt", b"%PDF-1.7 ...", "binary", 0),
    ("a.txt", bytes(range(256)) * 40, "not-text", 1),
    ("a.txt", b"one\ntwo\x00three\n", "not-text", 2),
    ("a.txt", b"\xff\xfea\x00b\x00c", "encoding", 1),
    ("a.txt", "été à voix haute\n".encode() * 900 + b"caf\xe9\n", "encoding", 901),
    ("a.jsonl", GOOD * 3 + b'{"text": "ha', "json", 4),
    ("a.jsonl", GOOD + b"not json\n", "json", 2),
    ("a.jsonl", GOOD + b'{"text": "x"} {"text": "y"}\n', "json", 2),
    ("a.jsonl", GOOD + b"[" * 100_000 + b"\n", "json", 2),
    ("a.jsonl", GOOD + b'{"text": ' + b"9" * 9000 + b"}\n", "json", 2),
    ("a.json", b'[{"text": "a"}, {"te', "json", 0),
    ("a.json", b"[" * 100_000, "json", 0),
    ("a.jsonl", GOOD + b'{"txt": "x", "label": 3}\n', "fields", 2),
    ("a.jsonl", GOOD + b'{"text": {"a": 1}}\n', "value", 2),
    ("a.jsonl", GOOD + b"3\n", "record", 2),
    ("a.jsonl", b'{"messages": [{"role": "parrot", "content": "x"}]}', "value", 1),
    ("a.jsonl", b'{"messages": "hello"}', "value", 1),
    ("a.json", b'{"guild":1,"channel":2,"messages":[{"content":3}]}', "value", 1),
    ("a.csv", b"colour,size\nred,3\n", "columns", 0),
    ("a.csv", b"input,target\na,b\nc\n", "table", 3),
    ("a.gz", gzip.compress(b"", mtime=0), "empty", 0),
    ("a.gz", gzip.compress(b"hello world", mtime=0)[:-9], "archive", 0),
    ("a.gz", gzip.compress(PNG, mtime=0), "binary", 0),
    ("a.gz", gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "archive-nested", 0),
    ("a.zip", b"PK\x03\x04 not really", "archive", 0),
    ("a.zip", archive(), "archive-empty", 0),
    ("a.zip", archive(**{"a.txt": b""}), "archive-empty", 0),
    ("a.zip", archive(**{"in.zip": archive(**{"a.txt": b"x"})}), "archive-nested", 0),
    ("a.zip", archive(**{"../../etc/passwd": b"x"}), "archive-path", 0),
    ("a.zip", archive(**{"/etc/passwd": b"x"}), "archive-path", 0),
    ("a.zip", archive(**{"..\\x.txt": b"x"}), "archive-path", 0),
    ("a.zip", archive(**{"C:\\x.txt": b"x"}), "archive-path", 0),
    ("a.zip", archive(**{f"{i}.txt": b"x" for i in range(1001)}), "archive-members", 0),
]


@pytest.mark.parametrize(("name", "content", "reason", "line"), CASES)
def test_a_bad_file_names_its_fault_and_its_line(tmp_path, name, content, reason, line):
    data = refusal(tmp_path, name, content)
    assert (data["reason"], data["line"]) == (reason, line)
    assert str(data["file"]).startswith(name)


def test_every_sentence_can_be_filled():
    filled = {"found": "x", "limit": 1, "encoding": "UTF-8", "field": "f", "detail": "d"}
    for reason in REASONS:
        error = CorpusError(reason, file="a.txt", line=3, **filled)
        assert str(error) == f"a.txt, line 3: {error.data['detail']}."
        assert "{" not in str(error)


def test_a_tar_inside_gzip_is_a_nested_archive_by_another_name(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as out:
        out.addfile(tarfile.TarInfo("a.txt"))
    assert refusal(tmp_path, "a.tar.gz", packed.getvalue())["reason"] == "binary"


def test_a_member_without_a_name_is_passed_over(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as out:
        out.writestr(zipfile.ZipInfo(""), b"x")
    assert refusal(tmp_path, "a.zip", packed.getvalue())["reason"] == "archive-empty"


def test_a_locked_archive_is_named_so(tmp_path):
    content = bytearray(archive(**{"a.txt": b"hello"}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert refusal(tmp_path, "a.zip", bytes(content))["reason"] == "archive-encrypted"


@pytest.mark.parametrize("pack", [gzip.compress, lambda raw: archive(**{"a.txt": raw})])
def test_a_bomb_is_refused_after_its_first_bytes(tmp_path, pack):
    line = b"a" * 1000 + b"\n"
    packed = pack(line * 30_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(tmp_path, "bomb", packed)["reason"] == "bomb"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


def test_more_than_the_bound_is_refused_whatever_the_ratio(tmp_path):
    limits = CorpusLimits(max_unpacked_bytes=1000)
    assert refusal(tmp_path, "a.txt", b"word \n" * 1000, limits)["reason"] == "too-large"
    members = {f"{i}.txt": b"some words\n" * 20 for i in range(10)}
    assert refusal(tmp_path, "a.zip", archive(**members), limits)["reason"] == "too-large"


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
def test_a_line_without_end_is_refused_at_the_bound(tmp_path, name):
    data = refusal(tmp_path, name, b"x" * 5_000_000)
    assert (data["reason"], data["line"]) == ("long-line", 1)


class Endless(io.RawIOBase):
    """Two gibibytes of one letter, made as they are read."""

    left = 2 << 30

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        count = min(len(buffer), self.left)
        buffer[:count] = b"x" * count
        self.left -= count
        return count


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json", "a.csv"])
def test_a_line_of_two_gibibytes_costs_no_more_than_the_bound(name):
    opened: list[Endless] = []

    def open_stream() -> io.BufferedReader:
        opened.append(Endless())
        return io.BufferedReader(opened[-1], 1 << 16)

    with pytest.raises(CorpusError, match="line 1: the line is longer than"):
        list(read_source(Source(name, open_stream), CorpusLimits()))
    assert max((2 << 30) - stream.left for stream in opened) < 6 << 20, "the rest was never read"


def test_a_json_value_without_end_is_refused_at_the_bound(tmp_path):
    content = b'[{"text": "' + b'a\\"' * 2_000_000
    assert refusal(tmp_path, "a.json", content)["reason"] == "long-value"


def test_an_unclosed_quote_does_not_swallow_a_table(tmp_path):
    limits = CorpusLimits(max_line_characters=1000)
    content = b'input,target\n"a,b\n' + b"c,d\n" * 1000
    assert refusal(tmp_path, "a.csv", content, limits)["reason"] == "table"


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"^gone\.txt: the file cannot be opened\.$"):
        list(read_corpus([CorpusFile(tmp_path / "gone", "gone.txt")]))


def test_lone_surrogates_do_no_harm_to_the_reader(tmp_path):
    path = tmp_path / "upload"
    path.write_text(json.dumps({"text": "a\ud800b"}))
    (document,) = read_corpus([CorpusFile(path, "a.jsonl")])
    assert document.text == "a\ud800b"

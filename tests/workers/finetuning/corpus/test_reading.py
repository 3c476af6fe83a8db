"""Every format is recognised by its content and read as documents."""

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path

import pytest

from workers.finetuning.corpus.documents import Conversation, Document, PlainText, Turn
from workers.finetuning.corpus.files import CorpusFile
from workers.finetuning.corpus.reading import read_corpus


def read(tmp_path: Path, name: str, content: str | bytes, **kwargs) -> list[Document]:
    path = tmp_path / "upload"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_corpus([CorpusFile(path, name)], **kwargs))


def turns(document: Document) -> list[tuple[str, str]]:
    (example,) = document.examples
    assert isinstance(example, Conversation)
    return [(turn.role, turn.text) for turn in example.turns]


def texts(documents: list[Document]) -> list[str]:
    return [document.text for document in documents]


QUESTION = [("user", "Hi"), ("assistant", "Hello")]
MESSAGES = {
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
}

RECORDS = [
    MESSAGES,
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
    {"dialog": ["Hi", "Hello"], "act": [1, 1], "emotion": [0, 0]},
    {"personality": [], "utterances": [{"history": ["Hi"], "candidates": ["No", "Hello"]}]},
    {"prompt": "Hi", "completion": "Hello"},
    {"instruction": "Hi", "input": "", "output": "Hello"},
    {"input": "Hi", "target": "Hello"},
    {"Question": "Hi", "Answer": "Hello"},
    {"prompt": MESSAGES["messages"][:1], "completion": MESSAGES["messages"][1:]},
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "tool", "content": "ignored"},
            {"role": "assistant", "content": "Hello"},
        ]
    },
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: next(iter(record)))
@pytest.mark.parametrize("layout", ["jsonl", "array", "object", "wrapped", "pretty"])
def test_a_record_means_the_same_in_every_layout(tmp_path, record, layout):
    content = {
        "jsonl": json.dumps(record) + "\n\n" + json.dumps(record) + "\n",
        "array": json.dumps([record, record]),
        "object": json.dumps(record),
        "wrapped": json.dumps({"version": 1, "data": [record, record]}),
        "pretty": json.dumps([record, record], indent=2),
    }[layout]
    documents = read(tmp_path, "corpus.bin", content)
    assert len(documents) == (1 if layout == "object" else 2)
    said = [turn for turn in turns(documents[-1]) if turn[0] != "system"]
    assert said == QUESTION


def test_one_line_is_json_lines_when_its_name_says_so(tmp_path):
    (document,) = read(tmp_path, "a.jsonl", json.dumps({"text": "One"}))
    assert document.examples == (PlainText("One"),)


def test_strings_in_an_array_are_texts(tmp_path):
    assert texts(read(tmp_path, "a.json", '["One", "Two"]')) == ["One", "Two"]


def test_instruction_and_its_input_become_one_question(tmp_path):
    record = {"instruction": "Translate", "input": "chat", "output": "cat", "system": "Be brief"}
    (document,) = read(tmp_path, "a.jsonl", json.dumps(record))
    assert turns(document) == [
        ("system", "Be brief"),
        ("user", "Translate\n\nchat"),
        ("assistant", "cat"),
    ]


def test_weight_zero_is_not_learnt(tmp_path):
    record = {
        "messages": [*MESSAGES["messages"], {"role": "assistant", "content": "x", "weight": 0}]
    }
    (document,) = read(tmp_path, "a.jsonl", json.dumps(record))
    assert [turn.trains for turn in document.examples[0].turns] == [True, True, False]


def test_plain_text_is_cut_into_passages_at_empty_lines(tmp_path):
    paragraph = "Le perroquet parle. " * 60
    documents = read(tmp_path, "a.txt", f"{paragraph}\n\n{paragraph}\n\n\nShort.\n")
    assert texts(documents) == [paragraph.strip("\n"), paragraph.strip("\n"), "Short."]
    assert [document.line for document in documents] == [1, 3, 6]


def test_a_line_longer_than_a_passage_is_cut_at_spaces_and_loses_nothing(tmp_path):
    line = "mot " * 3000
    documents = read(tmp_path, "a.txt", line)
    assert len(documents) > 2
    assert "".join(texts(documents)) == line
    assert all(len(text) <= 4000 for text in texts(documents))


def test_end_of_text_marks_part_samples(tmp_path):
    content = "<|startoftext|>One<|endoftext|>\n<|startoftext|>Two<|endoftext|>\n"
    assert texts(read(tmp_path, "a.txt", content)) == ["One", "Two"]


def test_text_that_begins_with_a_bracket_is_text(tmp_path):
    assert texts(read(tmp_path, "a.txt", "[1] A footnote.\n{not json}")) == [
        "[1] A footnote.\n{not json}"
    ]


def test_dailydialog_text(tmp_path):
    (document,) = read(tmp_path, "d.txt", "Hi ? __eou__ Hello ! __eou__ Bye . __eou__\n")
    assert turns(document) == [("assistant", "Hi ?"), ("user", "Hello !"), ("assistant", "Bye .")]


def test_persona_chat_text(tmp_path):
    content = (
        "1 your persona: i like parrots.\n2 hi\thello\t\thello|no\n3 how ?\tfine\t\tfine|bad\n"
        "1 your persona: i fly.\n2 partner's persona: i swim.\n3 hey\thi\n"
    )
    first, second = read(tmp_path, "p.txt", content)
    assert turns(first)[0] == ("system", "i like parrots.")
    assert turns(first)[1:] == [
        ("user", "hi"), ("assistant", "hello"), ("user", "how ?"), ("assistant", "fine"),
    ]  # fmt: skip
    assert turns(second) == [("system", "i fly."), ("user", "hey"), ("assistant", "hi")]
    assert second.line == 4


def test_empathetic_dialogues_rows_of_one_conversation_become_one_document(tmp_path):
    content = (
        "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags\n"
        "hit:0,1,sad,p,1,I am_comma_ sad,x,\nhit:0,2,sad,p,2,Oh,x,\nhit:1,1,joy,p,1,Yes,x,\n"
    )
    first, second = read(tmp_path, "e.csv", content)
    assert turns(first) == [("user", "I am, sad"), ("assistant", "Oh")]
    assert turns(second) == [("assistant", "Yes")]


def table(rows: list[list[str]], delimiter: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_pairs_in_a_table_whatever_its_name(tmp_path, delimiter):
    content = table([["Input", "Target"], ["Hi", "Hello"], ['say "a,b;c"', "x\ny"]], delimiter)
    first, second = read(tmp_path, "corpus.dat", content)
    assert turns(first) == QUESTION
    assert turns(second) == [("user", 'say "a,b;c"'), ("assistant", "x\ny")]
    assert [first.line, second.line] == [2, 3]


def test_one_text_column_named_so_by_the_file(tmp_path):
    assert texts(read(tmp_path, "a.csv", 'text\nOne\n"Two, three"\n')) == ["One", "Two, three"]


DISCORD = {
    "guild": {"id": "1"},
    "channel": {"id": "2"},
    "messages": [
        {"type": "Default", "timestamp": "2024-01-01T10:00:00+00:00", "content": "Hi",
         "author": {"name": "al", "nickname": "Alice", "isBot": False}},
        {"type": "GuildMemberJoin", "timestamp": "2024-01-01T10:00:01+00:00", "content": "Joined.",
         "author": {"name": "zoe", "isBot": False}},
        {"type": "Reply", "timestamp": "2024-01-01T10:00:30+00:00", "content": "Hello",
         "author": {"name": "Coco", "isBot": True}},
        {"type": "Default", "timestamp": "2024-01-01T13:00:00+00:00", "content": "Later",
         "author": {"name": "al", "nickname": "Alice", "isBot": False}},
    ],
}  # fmt: skip


def test_discord_chat_exporter_json_is_cut_where_the_channel_falls_silent(tmp_path):
    first, second = read(tmp_path, "x.json", json.dumps(DISCORD, indent=2))
    assert first.examples[0].turns == (
        Turn("user", "Hi", "Alice"),
        Turn("assistant", "Hello", "Coco"),
    )
    assert turns(second) == [("assistant", "Later")]


def test_discord_chat_exporter_csv(tmp_path):
    content = table(
        [
            ["AuthorID", "Author", "Date", "Content", "Attachments", "Reactions"],
            ["1", "alice", "2024-01-01T10:00:00.0000000+00:00", "Hi", "", ""],
            ["1", "alice", "2024-01-01T10:00:05.0000000+00:00", "there", "", ""],
            ["2", "bruno", "2024-01-01T10:00:09.0000000+00:00", "Hello", "", ""],
        ],
        ",",
    )
    (document,) = read(tmp_path, "x.csv", content)
    assert turns(document) == [("user", "Hi\nthere"), ("assistant", "Hello")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_encodings_are_found(tmp_path, encoding):
    text = "Été, œuvre, naïve : le perroquet répète à voix haute ce que l’été a laissé.\n" * 3
    (document,) = read(tmp_path, "a.txt", text.encode(encoding))
    assert document.text == text.strip()


def test_gzip_and_zip_are_unpacked_as_they_are_read(tmp_path):
    line = json.dumps({"text": "Coucou"}).encode()
    assert texts(read(tmp_path, "a.jsonl.gz", gzip.compress(line))) == ["Coucou"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sub/a.jsonl", line)
        archive.writestr("b.txt", "Salut")
        archive.writestr("empty.txt", "")
        archive.writestr("__MACOSX/._b.txt", b"\x00\x05")
    documents = read(tmp_path, "both.zip", packed.getvalue())
    assert texts(documents) == ["Coucou", "Salut"]
    assert documents[0].file == "both.zip/sub/a.jsonl"

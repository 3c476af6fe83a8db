"""Uploads become a clean, deduplicated, masked and split corpus with an honest report."""

import json
from pathlib import Path

import pytest

from workers.finetuning.base_tokenizer import load_tokenizer
from workers.finetuning.corpus.errors import CorpusError
from workers.finetuning.corpus.files import CorpusFile
from workers.finetuning.corpus.languages import LanguageTally
from workers.finetuning.corpus.prepared import hash_prepared, read_split
from workers.finetuning.corpus.preparing import PreparationOptions, prepare_corpus
from workers.finetuning.corpus.report import CorpusReport
from workers.finetuning.corpus.splitting import Split, SplitShares
from workers.finetuning.encoding import ExampleEncoder

STORY = [
    "Le perroquet gris du port de Saint-Malo répète tout ce que disent les marins du matin.",
    "Au marché, une vieille dame lui donne des noix et lui apprend une chanson de son pays.",
    "Quand la pluie tombe, il se cache sous le toit de la halle et imite le bruit des gouttes.",
    "Les enfants de l’école viennent le voir chaque soir pour entendre une nouvelle histoire.",
]


def upload(tmp_path: Path, records: list, name: str = "a.jsonl") -> list[CorpusFile]:
    path = tmp_path / name
    path.write_text("\n".join(json.dumps(record) for record in records))
    return [CorpusFile(path, name)]


def pairs(count: int) -> list[dict]:
    return [{"prompt": f"Number {i}?", "completion": f"It is {i * i}."} for i in range(count)]


def texts_of(folder: Path) -> dict[Split, list[str]]:
    return {split: [example.text for example in read_split(folder, split)] for split in Split}


def test_figures_of_a_plain_case(tmp_path, tiny_llama_folder):
    encoder = ExampleEncoder(load_tokenizer(tiny_llama_folder), 64)
    report = prepare_corpus(
        upload(tmp_path, pairs(40)), tmp_path / "out", count_tokens=encoder.count
    )
    assert (report.documents, report.examples, report.turns) == (40, 40, 80)
    assert report.files == ["a.jsonl"]
    assert 0 < report.trained_tokens < report.tokens
    counts = {name: split.documents for name, split in report.splits.items()}
    assert counts == {"train": 36, "validation": 2, "test": 2}
    assert sum(split.tokens for split in report.splits.values()) == report.tokens
    assert report.sha256 == hash_prepared(tmp_path / "out")
    assert CorpusReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".jsonl"] * 3


def test_the_same_seed_splits_alike_and_another_does_not(tmp_path):
    files = upload(tmp_path, pairs(60))

    def split(seed: int, name: str) -> dict[Split, list[str]]:
        options = PreparationOptions(shares=SplitShares(seed=seed))
        prepare_corpus(files, tmp_path / name, options=options)
        return texts_of(tmp_path / name)

    assert split(1, "a") == split(1, "b") != split(2, "c")


def test_twins_are_dropped_so_none_stands_in_two_splits(tmp_path):
    story = " ".join(STORY)
    nearly = story.replace("gris", "vert")
    records = [
        *pairs(20),
        {"prompt": "  number 3? ", "completion": "IT IS 9"},
        {"text": story},
        {"text": nearly},
        {"text": " ".join(reversed(STORY)) + " Et puis il s’envole vers le sud avec les siens."},
    ]
    report = prepare_corpus(upload(tmp_path, records), tmp_path / "out")
    assert (report.exact_duplicates, report.near_duplicates) == (1, 1)
    everything = [text for texts in texts_of(tmp_path / "out").values() for text in texts]
    assert story in everything
    assert nearly not in everything


def test_what_cannot_be_learnt_is_counted_not_kept(tmp_path):
    records = [
        *pairs(12),
        {"prompt": "Silence?", "completion": "  "},
        {"text": "\u0000\u200e\n"},
        {"messages": [{"role": "user", "content": "Anybody?"}]},
        {"messages": [{"role": "assistant", "content": "Alone."}]},
    ]
    report = prepare_corpus(upload(tmp_path, records), tmp_path / "out")
    assert report.examples == 12 + (report.documents - 12)
    assert report.empty >= 3
    kept = [text for texts in texts_of(tmp_path / "out").values() for text in texts]
    assert not any("Anybody" in text or "Alone" in text for text in kept)


def test_turns_are_put_in_the_order_that_templates_want(tmp_path):
    record = {
        "messages": [
            {"role": "assistant", "content": "Welcome!"},
            {"role": "user", "content": "One"},
            {"role": "user", "content": "Two"},
            {"role": "system", "content": "Be kind."},
            {"role": "assistant", "content": "A"},
            {"role": "assistant", "content": "B"},
            {"role": "user", "content": "Bye"},
        ]
    }
    options = PreparationOptions(shares=SplitShares(0, 0))
    prepare_corpus(upload(tmp_path, [*pairs(10), record]), tmp_path / "out", options=options)
    last = list(read_split(tmp_path / "out", Split.TRAIN))[-1]
    assert [(turn.role, turn.text) for turn in last.turns] == [
        ("system", "Be kind."),
        ("user", "One\nTwo"),
        ("assistant", "A\nB"),
    ]


def test_personal_data_is_masked_and_counted(tmp_path):
    records = [
        *pairs(10),
        {
            "prompt": "Mail?",
            "completion": "Write to coco.vert+x@example.org, or call 06 12 34 56 78.",
        },
        {"prompt": "Key?", "completion": "ghp_" + "a1" * 18 + " and AKIAABCDEFGHIJKLMNOP"},
        {"prompt": "Abroad?", "completion": "+44 20 7946 0958 at 12:30 on 2024-05-06, 1 000 000 €"},
    ]
    report = prepare_corpus(upload(tmp_path, records), tmp_path / "out")
    assert report.masked == {"[email]": 1, "[phone]": 2, "[secret]": 2}
    everything = "\n".join(text for texts in texts_of(tmp_path / "out").values() for text in texts)
    assert "Write to [email], or call [phone]." in everything
    assert "[phone] at 12:30 on 2024-05-06, 1 000 000 €" in everything
    assert "ghp_" not in everything
    kept = PreparationOptions(mask_personal_data=False)
    assert prepare_corpus(upload(tmp_path, records), tmp_path / "raw", options=kept).masked == {}


FRENCH = "Le perroquet mange des graines de tournesol sous le vieux tilleul. "
ENGLISH = "The old parrot eats sunflower seeds under the tree in the garden. "


@pytest.mark.parametrize(
    ("french", "english", "found"),
    [
        (30, 10, ["fr", "en"]),
        (200, 8, ["fr"]),
        (12, 2, ["fr"]),
        (1, 0, ["fr"]),
    ],
    ids=["both", "a small share", "few words", "little of all"],
)
def test_few_words_of_another_language_are_no_second_one(french, english, found):
    tally = LanguageTally()
    for _ in range(french):
        tally.add(FRENCH)
    for _ in range(english):
        tally.add(ENGLISH)
    assert list(tally.shares()) == found


def test_languages_and_warnings(tmp_path):
    records = [{"text": f"{line} Voici le jour numéro {i} de la semaine."} for i, line in
               enumerate(STORY * 4)]  # fmt: skip
    options = PreparationOptions(base_languages=frozenset({"en"}))
    report = prepare_corpus(upload(tmp_path, records), tmp_path / "out", options=options)
    assert next(iter(report.languages)) == "fr"
    assert report.warnings == ["little-text", "other-language", "few-validation"]
    enough = PreparationOptions(shares=SplitShares(validation=0.25))
    report = prepare_corpus(upload(tmp_path, records), tmp_path / "more", options=enough)
    assert report.warnings == ["little-text"]


def test_a_validation_set_of_ones_own_is_used_and_its_twins_leave_the_rest(tmp_path):
    own = upload(tmp_path, pairs(5), "own.jsonl")
    report = prepare_corpus(upload(tmp_path, pairs(40)), tmp_path / "out", validation_files=own)
    splits = texts_of(tmp_path / "out")
    assert len(splits[Split.VALIDATION]) == report.splits["validation"].examples == 5
    assert report.exact_duplicates == 5
    assert not set(splits[Split.VALIDATION]) & set(splits[Split.TRAIN] + splits[Split.TEST])


def test_nine_examples_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(CorpusError, match=r"only 9 examples .* at least 10 are needed"):
        prepare_corpus(upload(tmp_path, pairs(9)), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"text": "Encore."}\n' * 500),
        ("a.txt", "Encore, dit le perroquet.\n" * 5000),
        ("a.txt", "Encore, dit le perroquet. " * 5000),
        ("a.csv", "input,target\n" + "Encore,Toujours\n" * 500),
    ],
)
def test_a_corpus_in_which_every_line_is_the_same_is_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match="says the same"):
        prepare_corpus([CorpusFile(tmp_path / name, name)], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def export(authors: str, lines: int) -> dict:
    """A DiscordChatExporter file; an hour of silence after each second line."""
    return {
        "guild": {},
        "channel": {},
        "messages": [
            {
                "type": "Default",
                "timestamp": f"2024-01-{1 + i // 20:02}T{i // 2 % 10 * 2:02}:0{i % 2}:00+00:00",
                "content": f"Line {i} of {i * 7}",
                "author": {"name": authors[i % len(authors)]},
            }
            for i in range(lines)
        ],
    }


def test_an_export_in_which_one_person_speaks_is_refused_as_that(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(export("a", 80)))
    with pytest.raises(CorpusError, match="only one person speaks"):
        prepare_corpus([CorpusFile(tmp_path / "x.json", "x.json")], tmp_path / "out")


def test_a_corpus_in_which_mostly_one_person_speaks_has_a_warning(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(export("a", 80)))
    (tmp_path / "y.json").write_text(json.dumps(export("ab", 40)))
    files = [CorpusFile(tmp_path / name, name) for name in ("x.json", "y.json")]
    assert "one-speaker" in prepare_corpus(files, tmp_path / "out").warnings
    assert "one-speaker" not in prepare_corpus(files[1:], tmp_path / "alone").warnings


def test_a_fault_late_in_the_file_leaves_nothing(tmp_path):
    (file,) = upload(tmp_path, pairs(50))
    file.path.write_text(file.path.read_text() + '\n{"prompt": "half')
    with pytest.raises(CorpusError) as caught:
        prepare_corpus([file], tmp_path / "out")
    assert caught.value.data["line"] == 51
    assert list((tmp_path / "out").iterdir()) == []


def test_one_text_file_is_enough(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text("\n\n".join(" ".join(f"w{i}x{j}" for j in range(200)) for i in range(3)))
    heard: list[int] = []
    report = prepare_corpus(
        [CorpusFile(path, "story.txt")], tmp_path / "out", on_progress=heard.append
    )
    assert report.conversations == 0
    assert "no-validation" in report.warnings
    assert report.splits["train"].documents == report.documents

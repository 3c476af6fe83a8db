import pytest

from bot.catalogue import Catalogue
from bot.finetune.actions import CUSTOM_ID, Action, custom_id
from bot.finetune.downloading import DISCORD_ORIGINS, allowed_origins
from bot.finetune.failures import say_failure
from bot.finetune.intake import ModelNameError, slug
from bot.finetune.wishes import split_prompts
from bot.finetune.wording import about, duration, shares
from core.ids import new_id
from workers.finetuning.corpus.errors import REASONS
from workers.finetuning.corpus.report import Warning_
from workers.finetuning.corpus.signatures import BINARY_KINDS

FILLED = {"found": "x", "limit": 3, "encoding": "UTF-8", "field": "text", "detail": "d"}


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("line", [0, 7])
def test_every_reason_is_told_in_both_languages(reason, line):
    catalogue = Catalogue.load()
    data = {"file": "a`b.txt", "line": line, "reason": reason, **FILLED}
    english, french = (say_failure(catalogue, locale, "corpus", data) for locale in ("en", "fr"))
    assert english != french
    for sentence in (english, french):
        assert sentence.startswith("`a'b.txt`")
        assert ("7" in sentence.split(":")[0]) == bool(line)


@pytest.mark.parametrize(
    ("locale", "found", "words"),
    [
        ("en", 0, "no example is left"),
        ("en", 1, "only one example is left"),
        ("en", 9, "only 9 examples are left"),
        ("fr", 0, "aucun exemple"),
        ("fr", 1, "qu’un seul exemple"),
        ("fr", 9, "que 9 exemples"),
    ],
)
def test_what_is_left_of_a_corpus_is_counted_as_people_count(locale, found, words):
    data = {"file": "a.txt", "reason": "too-small", "found": found, "limit": 10}
    assert words in say_failure(Catalogue.load(), locale, "corpus", data)


@pytest.mark.parametrize("warning", Warning_.__args__)
def test_every_warning_is_told(warning):
    catalogue = Catalogue.load()
    key = f"corpus-warning-{warning}"
    assert catalogue.say("en", key) != catalogue.say("fr", key)


def test_what_an_upload_says_neither_marks_up_nor_floods():
    data = {"file": "a\nb", "line": 1, "reason": "fields", "found": "`x`" * 1000}
    sentence = say_failure(Catalogue.load(), "en", "corpus", data)
    assert len(sentence) < 700
    assert "`x`" not in sentence
    assert "\n" not in sentence


def test_what_a_binary_file_is_reads_in_both_languages():
    catalogue = Catalogue.load()
    for kind, english in BINARY_KINDS.items():
        data = {"reason": "binary", "file": "a.txt", "line": 0, "found": english, "kind": kind}
        assert catalogue.has(f"corpus-kind-{kind}")
        french = say_failure(catalogue, "fr", "corpus", data)
        assert catalogue.say("fr", f"corpus-kind-{kind}") in french


def test_codes_without_a_sentence_of_their_own_share_the_general_ones():
    catalogue = Catalogue.load()
    assert say_failure(catalogue, "fr", "never-heard-of", {}) == catalogue.say(
        "fr", "error-internal"
    )
    assert say_failure(catalogue, "en", "no-model", {}) == catalogue.say("en", "error-no-model")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Coco", "coco"),
        ("Élodie & Zoé!", "elodie-zoe"),
        ("../../etc", "etc"),
        ("a" * 99, "a" * 40),
        ("gpt_2.fr", "gpt_2.fr"),
    ],
)
def test_a_name_becomes_one_that_models_have(given, name):
    assert slug(given) == name


def test_a_name_of_which_nothing_is_left_is_refused():
    with pytest.raises(ModelNameError):
        slug("🦜 …")


def test_attachments_come_from_discord_or_from_a_playground_on_loopback():
    assert allowed_origins("") == DISCORD_ORIGINS
    assert allowed_origins("https://evil.example/api/v10") == DISCORD_ORIGINS
    (local,) = allowed_origins("http://127.0.0.1:8765/api/v10")
    assert str(local) == "http://127.0.0.1:8765"
    assert {url.scheme for url in DISCORD_ORIGINS} == {"https"}


def test_a_custom_id_tells_action_and_job_and_fits_discord_s_limit():
    job_id = new_id()
    for action in Action:
        match = CUSTOM_ID.fullmatch(custom_id(action, job_id))
        assert (match["action"], match["job_id"]) == (action, job_id)
        assert len(custom_id(action, job_id)) <= 100
    assert CUSTOM_ID.fullmatch(f"finetune:start:{job_id}x") is None


def test_prompts_are_parted_by_bars_and_bounded():
    assert split_prompts(" Who  are you? | | Qui ?|") == ["Who are you?", "Qui ?"]
    assert len(split_prompts("|".join("x" * 500 for _ in range(9)))) == 5
    assert max(map(len, split_prompts("x" * 500))) == 200


def test_time_and_languages_read_well():
    assert [duration(s) for s in (5, 65, 7300)] == ["5 s", "1 min 5 s", "2 h 1 min"]
    found = {"en": 0.08, "fr": 0.9, "xx": 0.02}
    assert shares(found, "en") == "French 90 %, English 8 %, xx 2 %"
    assert shares(found, "fr") == "français 90 %, anglais 8 %, xx 2 %"


def test_a_guess_is_told_in_its_largest_unit_alone():
    assert [about(s) for s in (0.2, 42, 61, 629, 5000, 90_000)] == [
        "1 s",
        "42 s",
        "1 min",
        "10 min",
        "1 h",
        "25 h",
    ]

import pytest

from workers.conversion.smollm2 import _CARD
from workers.finetuning.base_card import languages_of


@pytest.mark.parametrize(
    ("card", "languages"),
    [
        ("---\nlanguage: fr\n---\n# Coco\n", {"fr"}),
        ("---\nlanguage:\n- en\n- fr-FR\nlicense: mit\n---\n", {"en", "fr"}),
        ("---\nlanguage: [no, EN]\n---", {"no", "en"}),
        ("---\nlicense: mit\n---\n", set()),
        ("---\nlanguage: [unclosed\n---\n", set()),
        ("---\n- a list\n---\n", set()),
        ("# No metadata\nlanguage: fr\n", set()),
        (_CARD, {"en"}),
    ],
)
def test_languages_are_those_of_the_metadata(tmp_path, card, languages):
    (tmp_path / "README.md").write_text(card)
    assert languages_of(tmp_path) == languages


def test_a_base_without_a_readable_card_says_nothing(tmp_path):
    assert languages_of(tmp_path) == frozenset()
    (tmp_path / "README.md").write_bytes(b"---\nlanguage: \xff\n---\n")
    assert languages_of(tmp_path) == frozenset()

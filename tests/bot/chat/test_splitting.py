import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from bot.chat.splitting import split_message


def test_a_short_text_is_one_message():
    assert split_message("hello") == ["hello"]


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_nothing_to_say_is_no_message(text):
    assert split_message(text) == []


def test_words_stay_whole():
    words = "parrots talk a lot " * 300
    parts = split_message(words)
    assert " ".join(parts).split() == words.split()


def test_paragraphs_are_the_best_place_to_cut():
    text = "a" * 80 + "\n\n" + "b c " * 20
    assert split_message(text, 120)[0] == "a" * 80


def test_a_word_that_is_too_long_is_cut_between_graphemes():
    family = "👩‍👩‍👧‍👦"
    parts = split_message(family * 60, 200)
    assert "".join(parts) == family * 60
    assert all(regex.fullmatch(rf"({family})+", part) for part in parts)


def test_an_open_code_fence_is_closed_and_opened_again():
    code = "```python\n" + "print('parrot')\n" * 30 + "```"
    parts = split_message(code, 200)
    assert len(parts) > 2
    for part in parts:
        assert part.startswith("```python\n")
        assert part.endswith("```")
        assert part.count("```") == 2


def test_custom_emoji_and_mentions_stay_whole():
    text = "x" * 95 + "<:parrot:123456789012345678>" + "y" * 80
    parts = split_message(text, 110)
    assert any("<:parrot:123456789012345678>" in part for part in parts)


def test_the_first_message_of_a_growing_text_stays_as_it_is():
    words = "one two three four five six seven eight nine ten " * 20
    first = split_message(words[:400], 150)[0]
    assert all(split_message(words[:end], 150)[0] == first for end in range(400, 900, 50))


FENCED = st.builds(
    lambda before, fence, language, after: f"{before}{fence}{language}{after}",
    st.sampled_from(["", "\n", "Look:\n  "]),
    st.sampled_from(["```", "``````", "````"]),
    st.integers(0, 600).map(lambda count: "-" * count),
    st.text(max_size=900),
)


@pytest.mark.timeout(10)
def test_a_fence_whose_language_never_ends_is_cut_like_a_word():
    parts = split_message("```" + "-" * 3000)
    assert len(parts) == 2
    assert sum(part.count("-") for part in parts) >= 3000


@given(st.text(max_size=1500) | FENCED, st.integers(100, 400))
def test_no_message_is_too_long_and_no_text_is_lost(text, limit):
    parts = split_message(text, limit)
    assert all(0 < len(p.encode("utf-16-le")) // 2 <= limit for p in parts)
    if "`" not in text:
        assert "".join("".join(parts).split()) == "".join(text.split())

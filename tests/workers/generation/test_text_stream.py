import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from tests.workers.model_folders import make_tokenizer
from workers.generation.text_stream import TextStream

TOKENIZER = make_tokenizer(["<|endoftext|>"]).backend_tokenizer


def ids_of(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False).ids


def stream(token_ids, *stops) -> list[str]:
    """What each push gives, and at the end what the flush gives."""
    text_stream = TextStream(TOKENIZER, stops)
    pieces = []
    for token_id in token_ids:
        pieces.append(text_stream.push(token_id))
        if text_stream.is_stopped:
            break
    return [*pieces, text_stream.flush()]


@pytest.mark.parametrize(
    "text", ["hello there", "été à Noël", "👩‍👩‍👧 🐱", "鸚鵡學舌", "a\n\nb  c ", ""]
)
def test_text_comes_out_as_it_went_in(text):
    assert "".join(stream(ids_of(text))) == text


def test_a_character_is_held_back_until_it_is_whole():
    ids = ids_of("🐱")
    assert len(ids) > 1
    assert stream(ids) == [*[""] * (len(ids) - 1), "🐱", ""]


def test_half_a_character_at_the_end_is_left_out():
    assert "".join(stream(ids_of("ok 鸚")[:-1])) == "ok "


def test_the_names_of_tokens_make_the_text():
    text = "hello there, hello"
    assert "".join(map(TextStream(TOKENIZER, ()).name, ids_of(text))) == text


def test_a_token_is_named_with_the_space_that_a_text_does_not_begin_with():
    vocabulary = {"<unk>": 0, "\u2581seed": 1, "s": 2}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    parts = decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)
    tokenizer.decoder = decoders.Sequence(list(parts))
    assert [TextStream(tokenizer, ()).name(token) for token in (1, 2)] == [" seed", "s"]


BYTES = Tokenizer(
    models.WordLevel(
        vocab={f"<0x{n:02X}>": n for n in range(256)} | {"▁a": 256, "b": 257}, unk_token="b"
    )
)
BYTES.decoder = decoders.Sequence(
    [
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
)


@pytest.mark.parametrize("stops", [(), ("nowhere",)])
@given(st.lists(st.integers(0, 257), max_size=12))
def test_no_bytes_of_a_token_each_fail_an_answer(stops, token_ids):
    text_stream = TextStream(BYTES, stops)
    text = "".join([*(text_stream.push(one) for one in token_ids), text_stream.flush()])
    assert len(text) <= len(token_ids) * 2
    whole = BYTES.decode(token_ids)
    if "\ufffd" not in whole:
        assert text == whole


def test_what_follows_a_byte_that_fits_no_character_is_said():
    text_stream = TextStream(BYTES, ())
    pieces = [text_stream.push(one) for one in (256, 0x0A, 0xC3, 257, 256)]
    assert "".join([*pieces, text_stream.flush()]) == "a\n\ufffdb a"


def test_special_tokens_are_never_text():
    assert "".join(stream([*ids_of("a"), 0, *ids_of("b")])) == "ab"


def test_a_stop_string_across_tokens_is_never_shown():
    pieces = stream(ids_of("well\nAlice: me"), "\nAlice:")
    assert "".join(pieces) == "well"


def test_what_only_looked_like_a_stop_is_shown():
    assert "".join(stream(ids_of("well\nAlicia"), "\nAlice:")) == "well\nAlicia"
    assert "".join(stream(ids_of("well\nAli"), "\nAlice:")) == "well\nAli"


def test_the_earliest_of_several_stops_counts():
    assert "".join(stream(ids_of("one two three"), "three", "two", "")) == "one "


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab🐱é\n", max_size=30), st.text(alphabet="ab\n", max_size=4))
def test_the_text_is_what_stands_before_the_first_stop(text, stop):
    expected = text[: text.find(stop)] if stop and stop in text else text
    assert "".join(stream(ids_of(text), stop)) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, TOKENIZER.get_vocab_size() - 1), max_size=30))
def test_any_tokens_give_what_decoding_them_at_once_gives(token_ids):
    whole = TOKENIZER.decode(token_ids, skip_special_tokens=True)
    assert "".join(stream(token_ids)) == whole.rstrip("\ufffd")

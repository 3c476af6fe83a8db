import threading

import pytest

from core.errors import InvalidInputError
from workers.generation.protocol import (
    Chunk,
    FinishReason,
    GenerationFailedError,
    GenerationStream,
    Sampling,
)


def stream_of(*chunks: Chunk) -> GenerationStream:
    stream = GenerationStream(lambda: None)
    for chunk in chunks:
        stream.put(chunk)
    return stream


def test_a_slow_reader_catches_up_with_all_that_waits():
    stream = stream_of(Chunk("a", 1), Chunk("b", 2), Chunk("c", 3, FinishReason.LENGTH))
    assert list(stream) == [Chunk("abc", 3, FinishReason.LENGTH)]


def test_a_fast_reader_gets_each_piece_as_it_comes():
    stream = GenerationStream(lambda: None)
    wanted, pieces = threading.Semaphore(0), iter(["a", "b"])

    def feed() -> None:
        for piece in pieces:
            wanted.acquire()
            stream.put(Chunk(piece, 1))
        wanted.acquire()
        stream.put(Chunk("", 2, FinishReason.STOP))

    feeder = threading.Thread(target=feed)
    feeder.start()
    reading, texts = iter(stream), []
    for _ in range(3):
        wanted.release()
        texts.append(next(reading).text)
    feeder.join()
    assert texts == ["a", "b", ""]
    assert list(reading) == []


def test_what_was_said_before_a_failure_is_heard_before_it():
    failure = GenerationFailedError("boom")
    reading = iter(stream_of(Chunk("a", 1), Chunk("", 1, FinishReason.ERROR, failure)))
    assert next(reading) == Chunk("a", 1)
    with pytest.raises(GenerationFailedError):
        next(reading)


def test_thousands_of_stop_strings_are_refused_and_none_is_lost():
    with pytest.raises(InvalidInputError, match="3000 stop strings"):
        Sampling(stop=tuple(map(str, range(3000))))
    full = Sampling(stop=tuple(map(str, range(256))))
    with pytest.raises(InvalidInputError, match="257 stop strings"):
        full.with_stops(("\nAlice:",))
    assert full.with_stops(("", "7")).stop == full.stop


@pytest.mark.parametrize(
    "values",
    [
        {"max_new_tokens": -1},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 1.1},
        {"top_p": -0.1},
        {"top_k": -1},
        {"repetition_penalty": 0},
    ],
)
def test_sampling_out_of_range_names_its_field(values):
    with pytest.raises(InvalidInputError) as raised:
        Sampling(**values)
    assert raised.value.data["field"] in values


def test_what_has_come_is_taken_without_waiting():
    stream = GenerationStream(lambda: None)
    assert stream.take() is None
    stream.put(Chunk("a", 1))
    stream.put(Chunk("b", 2, FinishReason.LENGTH))
    taken = stream.take()
    assert taken is not None
    assert (taken.text, taken.token_count, taken.finish) == ("ab", 2, FinishReason.LENGTH)
    assert stream.take() is None

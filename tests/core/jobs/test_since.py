import pytest

from core.jobs.since import SinceError, parse_since

NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("30m", NOW - 1800), (" 2 H ", NOW - 7200), ("7d", NOW - 604_800), ("1w", NOW - 604_800)],
)
def test_a_span_ends_now(given, seconds):
    assert parse_since(given, NOW) == seconds


def test_a_span_longer_than_time_begins_with_it():
    assert parse_since("999999w", NOW) == 0


def test_a_day_begins_at_midnight_utc():
    assert parse_since("1970-01-02", NOW) == 86_400
    assert parse_since("1970-01-02T00:00:00+01:00", NOW) == 82_800


@pytest.mark.parametrize("given", ["", "yesterday", "3y", "-1d", "2026-13-40", "1.5h"])
def test_anything_else_is_refused(given):
    with pytest.raises(SinceError):
        parse_since(given, NOW)

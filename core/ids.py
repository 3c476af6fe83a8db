"""Identifiers that sort by time of birth."""

import secrets
import threading
import time

# Crockford's base32: no I, L, O, U, so that an id survives being read aloud.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 20
_RANDOM_BITS = 52
# Leaves room for a million further ids in the same millisecond.
_FIRST_BITS, _STEP_BITS = 51, 31

ID_PATTERN = rf"^[{_ALPHABET}]{{{_LENGTH}}}$"


class _Birth:
    """Numbers the ids of this process; each is larger than the one before. Safe among threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> int:
        now = time.time_ns() // 1_000_000
        with self._lock:
            if now > self._last >> _RANDOM_BITS:
                self._last = now << _RANDOM_BITS | secrets.randbits(_FIRST_BITS)
            else:
                # The same millisecond, or a clock that was set back.
                self._last += 1 + secrets.randbits(_STEP_BITS)
            return self._last


_BIRTH = _Birth()


def new_id() -> str:
    """A new id: 48 bits of milliseconds, then 52 random bits, as 20 base32 characters.

    Ids of one process sort in the order of their making; those that several processes make in one
    millisecond sort at random. Twenty characters leave room for a suffix below Discord's limit of
    25 for a message nonce.
    """
    return _written(_BIRTH.next())


def first_id(seconds: float) -> str:
    """What sorts before all ids that are made from this time, in seconds since 1970 UTC, on."""
    return _written(max(0, int(seconds * 1000)) << _RANDOM_BITS)


def last_id(prefix: str) -> str:
    """What sorts after all ids, or is the last of them, that begin with these characters."""
    return prefix.ljust(_LENGTH, _ALPHABET[-1])


def _written(number: int) -> str:
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (_LENGTH - 1), -1, -5))

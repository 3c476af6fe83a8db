"""Identifiers that sort by time of birth."""

import secrets
import time

# Crockford's base32: no I, L, O, U, so that an id survives being read aloud.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 20
_RANDOM_BITS = 52

ID_PATTERN = rf"^[{_ALPHABET}]{{{_LENGTH}}}$"


def new_id() -> str:
    """A new id: 48 bits of milliseconds, then 52 random bits, as 20 base32 characters.

    Ids of one process may share a millisecond, and then their order is random. Twenty characters
    leave room for a suffix below Discord's limit of 25 for a message nonce.
    """
    return _written((time.time_ns() // 1_000_000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS))


def first_id(seconds: float) -> str:
    """What sorts before all ids that are made from this time, in seconds since 1970 UTC, on."""
    return _written(max(0, int(seconds * 1000)) << _RANDOM_BITS)


def last_id(prefix: str) -> str:
    """What sorts after all ids, or is the last of them, that begin with these characters."""
    return prefix.ljust(_LENGTH, _ALPHABET[-1])


def _written(number: int) -> str:
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (_LENGTH - 1), -1, -5))

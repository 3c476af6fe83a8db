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
    number = (time.time_ns() // 1_000_000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (_LENGTH - 1), -1, -5))

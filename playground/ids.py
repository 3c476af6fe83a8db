"""Discord's snowflakes: when something was made is in its id."""

import time

_EPOCH_MILLISECONDS = 1_420_070_400_000


def snowflake_now() -> int:
    """The lowest id of this millisecond."""
    return (time.time_ns() // 1_000_000 - _EPOCH_MILLISECONDS) << 22


def age_seconds_of(snowflake: str) -> float:
    """How long ago an id was made."""
    return ((snowflake_now() >> 22) - (int(snowflake) >> 22)) / 1000

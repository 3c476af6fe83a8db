"""Discord's snowflakes, in which the time of making is, and its way to write times."""

import time
from datetime import UTC, datetime

_EPOCH_MILLISECONDS = 1_420_070_400_000


def snowflake_now() -> int:
    """The lowest id of this millisecond."""
    return (time.time_ns() // 1_000_000 - _EPOCH_MILLISECONDS) << 22


def age_seconds_of(snowflake: str) -> float:
    """How long ago an id was made."""
    return ((snowflake_now() >> 22) - (int(snowflake) >> 22)) / 1000


def now_iso() -> str:
    """Now, as Discord writes times."""
    return datetime.now(UTC).isoformat()

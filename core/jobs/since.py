"""Times as people write them to narrow a list: “30m”, “24h”, “7d”, in French “7j”, or a day."""

import re
from datetime import UTC, datetime

from core.errors import WrongUsageError

# “j” is “jour”, and “s” would be a second as well as a “semaine”.
_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "j": 86_400, "w": 604_800}
_SPAN = re.compile(r"^\s*(\d{1,6})\s*([mhdjw])\s*$", re.IGNORECASE)


class SinceError(WrongUsageError):
    """That is neither a span nor a day; ``data["given"]`` is what was written."""

    code = "since"


def parse_since(given: str, now: float) -> float:
    """The beginning of a time span, in seconds since 1970 UTC.

    Args:
        given: a span that ends now (``30m``, ``24h``, ``7d``, ``2w``) or a day (``2026-11-23``)
            that begins at midnight UTC.
        now: seconds since 1970 UTC.

    Raises:
        SinceError: it is neither.
    """
    span = _SPAN.match(given)
    if span is not None:
        return max(0.0, now - int(span[1]) * _UNIT_SECONDS[span[2].lower()])
    try:
        day = datetime.fromisoformat(given.strip())
    except ValueError as exc:
        shown = given[:40]
        raise SinceError(
            f"“{shown}” is no time: write 30m, 24h, 7d or a day such as 2026-11-23.", given=shown
        ) from exc
    return (day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp()

"""Numbers and lists as people read them in both languages."""

from collections.abc import Mapping
from typing import cast

from babel import Locale
from fluent.runtime.types import fluent_number

_MINUTE, _HOUR = 60, 3600
_BAR_CELLS = 20


def decimal(value: float, digits: int) -> float:
    """A number that the catalogue shows with exactly so many digits behind the point."""
    number = fluent_number(value, minimumFractionDigits=digits, maximumFractionDigits=digits)
    return cast("float", number)


def duration(seconds: float) -> str:
    """A time span in its two largest units; the units are the same in both languages."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"


def about(seconds: float) -> str:
    """A time span that is only guessed, in its largest unit."""
    if seconds < _MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < _HOUR:
        return f"{round(seconds / _MINUTE)} min"
    return f"{seconds / _HOUR:.0f} h"


def shares(found: dict[str, float], locale: str, most: int = 3) -> str:
    """Languages by their names in another, with their share, the largest first."""
    names = Locale("fr" if locale == "fr" else "en").languages
    largest = sorted(found.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"{names.get(code, code)} {share * 100:.0f} %" for code, share in largest)


def options_text(options: Mapping[str, str | int | float]) -> str:
    """Training options under the names that commands and files give them."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in options.items()
    )


def clipped(text: str, most: int) -> str:
    """A text that fits, with code marks made harmless."""
    harmless = text.replace("`", "'")
    return harmless if len(harmless) <= most else harmless[: most - 1] + "…"


def bar(step: int, steps: int, cells: int = _BAR_CELLS) -> str:
    """A bar of text with the share that is done."""
    share = min(1.0, step / max(1, steps))
    full = round(share * cells)
    return f"`{'█' * full}{'░' * (cells - full)}` {share * 100:.0f} %"

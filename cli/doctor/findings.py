"""What a check found."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is. Only FAILED makes the doctor's exit code 1."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    # There is nothing to check on this installation.
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's page.

    Attributes:
        check: what was looked at, in a few words that stay the same.
        verdict: how bad it is.
        said: what was seen.
        fix: what to do about it; never empty where the verdict is WARNING or FAILED.
    """

    check: str
    verdict: Verdict
    said: str
    fix: str = ""


def ok(check: str, said: str) -> Finding:
    """All is well."""
    return Finding(check, Verdict.OK, said)


def warning(check: str, said: str, fix: str) -> Finding:
    """It works, but not as well as it could."""
    return Finding(check, Verdict.WARNING, said, fix)


def failed(check: str, said: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(check, Verdict.FAILED, said, fix)


def skipped(check: str, said: str) -> Finding:
    """There is nothing to check, and why."""
    return Finding(check, Verdict.SKIPPED, said)


def reason_of(exc: BaseException) -> str:
    """What an error says, in its first line; its class where it says nothing."""
    lines = str(exc).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(exc).__name__

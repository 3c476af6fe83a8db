"""Python, and the room on the disk."""

import platform
import shutil
import sys
from pathlib import Path

from cli.doctor.findings import Finding, failed, ok, warning

_OLDEST_PYTHON = (3, 11)
_GIBIBYTE = 2**30
# A model, its optimiser's checkpoints and the database need room at the same time.
_TOO_LITTLE_BYTES, _LITTLE_BYTES = 2 * _GIBIBYTE, 10 * _GIBIBYTE


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    """Whether this Python is new enough."""
    shown = ".".join(str(part) for part in version)
    if version < _OLDEST_PYTHON:
        return failed(
            "Python",
            f"{shown} is too old",
            "Install Python 3.11 or newer and make the environment anew: make PYTHON=python3.12 up",
        )
    return ok("Python", f"{shown} on {platform.machine()}")


def check_disk(
    folder: Path,
    too_little_bytes: int = _TOO_LITTLE_BYTES,
    little_bytes: int = _LITTLE_BYTES,
) -> Finding:
    """Whether there is room where the data lies."""
    free = shutil.disk_usage(nearest_existing(folder)).free
    said = f"{free / _GIBIBYTE:.1f} GiB free for {folder}"
    fix = "Free some room, or move the data: PERROQUET_DATA_DIR names its folder."
    if free < too_little_bytes:
        return failed("disk", said, fix)
    return warning("disk", said, fix) if free < little_bytes else ok("disk", said)


def nearest_existing(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    folder = folder.resolve()
    while not folder.exists():
        folder = folder.parent
    return folder

"""Paths below the store's URL, and the names of files in a version."""

import re
from pathlib import PurePosixPath

from models_store.errors import UnsafeFileError

# A letter or digit first keeps out hidden files, "." and "..". Without wildcards no backend can
# take a path for a pattern and delete more than was meant.
_PART = re.compile(r"\w[\w.+@=, -]{0,127}")


def check_path(path: str) -> None:
    """Refuse a path that leaves its folder, or that some backend would read as something else.

    Raises:
        UnsafeFileError: the path is refused.
    """
    parts = path.split("/")
    if not all(_PART.fullmatch(part) for part in parts):
        raise UnsafeFileError(f"“{path}” is no path inside the store.", file=path)


def parents_of(path: str) -> list[str]:
    """The folders above a relative path, the nearest first, without the root."""
    return [str(parent) for parent in PurePosixPath(path).parents][:-1]

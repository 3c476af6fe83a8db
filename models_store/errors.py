"""What can be wrong with a version in the store, and the one place where foreign errors end."""

from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import PerroquetError, ServiceUnavailableError, StoreError


class VersionMissingError(StoreError):
    """There is no published version under this path."""


class VersionExistsError(StoreError):
    """The path is taken; versions are immutable."""


class VersionCorruptError(StoreError):
    """A file is missing or differs from the manifest; ``data["file"]`` names it."""


class UnsafeFileError(StoreError):
    """A file is of a kind that the store does not keep; ``data["file"]`` names it."""

    code = "unsafe-file"


class SourceUnavailableError(StoreError):
    """A model cannot be had from where it was said to be."""

    code = "source-unavailable"


@contextmanager
def translated() -> Iterator[None]:
    """Turn what a backend raises into one error. A missing file stays one: callers know its sense.

    Raises:
        ServiceUnavailableError: the store cannot be reached, read or written.
    """
    try:
        yield
    except (PerroquetError, FileNotFoundError):
        raise
    except Exception as exc:
        # Each backend has a tree of its own (OSError, botocore, aiohttp, google, azure …).
        raise ServiceUnavailableError(
            f"The model store cannot be used: {type(exc).__name__}: {exc}.", service="store"
        ) from exc

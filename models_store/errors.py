"""What can be wrong with a version in the store."""

from core.errors import StoreError


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

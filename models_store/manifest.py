"""The manifest of a version: which files it has, how long they are, and their SHA-256."""

import json
from dataclasses import dataclass, field
from typing import Any

from models_store.errors import VersionCorruptError
from models_store.hashing import FileEntry

MANIFEST_NAME = "manifest.json"
_FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """All files of a version, by their path below it, and what its maker said of it."""

    files: dict[str, FileEntry]
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        """The size of all files together."""
        return sum(entry.total_bytes for entry in self.files.values())

    def to_bytes(self) -> bytes:
        """The manifest as it is stored; equal manifests give equal bytes."""
        files = {
            name: {"sha256": entry.sha256, "bytes": entry.total_bytes}
            for name, entry in sorted(self.files.items())
        }
        content = {"format": _FORMAT, "files": files, "metadata": self.metadata}
        return json.dumps(content, sort_keys=True, indent=1).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Manifest":
        """Read a stored manifest.

        Raises:
            VersionCorruptError: it is no manifest of a format that is known here.
        """
        try:
            parsed = json.loads(content)
            if parsed["format"] != _FORMAT:
                raise VersionCorruptError(
                    f"The manifest has format {parsed['format']}; this Perroquet knows {_FORMAT}.",
                    file=MANIFEST_NAME,
                )
            files = {
                str(name): FileEntry(str(entry["sha256"]), int(entry["bytes"]))
                for name, entry in parsed["files"].items()
            }
            return cls(files, dict(parsed["metadata"]))
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise VersionCorruptError("The manifest is damaged.", file=MANIFEST_NAME) from exc

"""Verified local copies of versions, bounded in size, least recently used out first."""

import hashlib
import os
import shutil
import time
from pathlib import Path

# A version found so recently may still be in loading; it is not evicted.
_SURELY_IDLE_SECONDS = 600


class VersionCache:
    """A folder of versions. Several processes may share it: entries come by rename, whole."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    @property
    def staging_dir(self) -> Path:
        """Where a version is gathered before it is adopted; on the same file system."""
        staging = self._folder / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        return staging

    def find(self, path: str) -> Path | None:
        """The local folder of a version, if it is here; finding it counts as a use."""
        folder = self._place(path)
        if not folder.is_dir():
            return None
        os.utime(folder)
        return folder

    def adopt(self, path: str, staging: Path, total_bytes: int) -> Path:
        """Take a gathered and verified folder in, and make room for it first."""
        self._make_room(total_bytes)
        folder = self._place(path)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            staging.rename(folder)
        except OSError:
            # Another process was faster; its copy was verified just as this one.
            if not folder.is_dir():
                raise
        os.utime(folder)
        return folder

    def drop(self, path: str) -> None:
        """Forget a version. Files that a process has mapped stay readable to it."""
        shutil.rmtree(self._place(path), ignore_errors=True)

    def _place(self, path: str) -> Path:
        # A hash keeps any path within one level and out of trouble; the name is for people.
        digest = hashlib.sha256(path.encode()).hexdigest()[:16]
        return self._folder / "versions" / f"{path.replace('/', '-')}-{digest}"

    def _make_room(self, needed_bytes: int) -> None:
        versions = self._folder / "versions"
        if not versions.is_dir():
            return
        entries = [(e.stat().st_mtime, _size(e), e) for e in versions.iterdir()]
        surplus = sum(size for _, size, _ in entries) + needed_bytes - self._max_bytes
        for used_at, size, entry in sorted(entries, key=lambda e: e[0]):
            if surplus <= 0 or time.time() - used_at < _SURELY_IDLE_SECONDS:
                return
            shutil.rmtree(entry, ignore_errors=True)
            surplus -= size


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

"""Verified local copies of versions, bounded in size, least recently used out first."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# A version fetched so recently may still be in loading; afterwards its files are mapped, and the
# kernel keeps what is mapped.
_SURELY_LOADED_SECONDS = 600
_SURELY_DEAD_SECONDS = 86_400
_MARK = ".verified.json"


class VersionCache:
    """A folder of versions that several processes may share.

    Invariants: an entry comes whole, by rename, after its files were verified; it goes by rename
    too, and not within ten minutes of its last use. An entry whose files were written to since is
    not handed out. Not guaranteed: that silent damage on the disk is noticed, which takes reading
    every byte again.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    @contextmanager
    def held(self, path: str) -> Iterator[None]:
        """Keep other threads and processes from bringing, finding or evicting this version."""
        with self._lock_file(path).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def find(self, path: str) -> Path | None:
        """The local folder of a held version, if it is here; finding it counts as a use."""
        folder = self._place(path)
        if not folder.is_dir():
            return None
        if _mark_of(folder) != _state_of(folder):
            self.drop(path)
            return None
        os.utime(folder)
        return folder

    def new_staging(self) -> Path:
        """A new folder in which a version is gathered before it is adopted."""
        return Path(tempfile.mkdtemp(dir=_made(self._folder / "staging")))

    def adopt(self, path: str, staging: Path) -> Path:
        """Take a gathered and verified folder in for a held version, and make room for it."""
        (staging / _MARK).write_text(json.dumps(_state_of(staging)), encoding="utf-8")
        self._make_room(_size_of(staging))
        folder = self._place(path)
        _made(folder.parent)
        staging.rename(folder)
        os.utime(folder)
        return folder

    def drop(self, path: str) -> None:
        """Forget a version. Files that a process has mapped stay readable to it."""
        self._discard(self._place(path))

    def _make_room(self, needed_bytes: int) -> None:
        entries = [(e.stat().st_mtime, e) for e in _made(self._folder / "versions").iterdir()]
        sizes = {entry: _size_of(entry) for _, entry in entries}
        surplus = sum(sizes.values()) + needed_bytes - self._max_bytes
        for _, entry in sorted(entries):
            if surplus > 0 and self._evict(entry):
                surplus -= sizes[entry]
        for leftover in _made(self._folder / "staging").iterdir():
            if time.time() - leftover.stat().st_mtime > _SURELY_DEAD_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)

    def _evict(self, entry: Path) -> bool:
        """Let an entry go, unless somebody uses it; whoever asks for it meanwhile waits."""
        with (_made(self._folder / "locks") / entry.name).open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                idle_seconds = time.time() - entry.stat().st_mtime
            except (BlockingIOError, FileNotFoundError):
                return False
            if idle_seconds < _SURELY_LOADED_SECONDS:
                return False
            self._discard(entry)
            return True

    def _discard(self, entry: Path) -> None:
        grave = self.new_staging()
        with suppress(FileNotFoundError):
            entry.rename(grave / "entry")
        shutil.rmtree(grave, ignore_errors=True)

    def _lock_file(self, path: str) -> Path:
        return _made(self._folder / "locks") / self._place(path).name

    def _place(self, path: str) -> Path:
        # The hash tells paths apart, the rest is for people.
        digest = hashlib.sha256(path.encode()).hexdigest()[:16]
        readable = re.sub(r"[^A-Za-z0-9._]+", "-", path)[-80:]
        return self._folder / "versions" / f"{readable}-{digest}"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _state_of(folder: Path) -> dict[str, list[int]]:
    """Size and last write of every file: cheap to compare, changed by any ordinary writer."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != _MARK]
    return {
        file.relative_to(folder).as_posix(): [file.stat().st_size, file.stat().st_mtime_ns]
        for file in sorted(files)
    }


def _mark_of(folder: Path) -> object:
    try:
        return json.loads((folder / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _size_of(folder: Path) -> int:
    """What deleting the folder would free: a file that the store has too costs nothing here."""
    states = [file.stat() for file in folder.rglob("*") if file.is_file()]
    return sum(state.st_size for state in states if state.st_nlink == 1)

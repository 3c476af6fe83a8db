"""A small disk for the store, which can be filled to the last byte."""

import asyncio
import contextlib
import errno
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_SIZE = "96m"
_BALLAST = "ballast"
_CHUNK = bytes(2**20)


class SmallDisk:
    """A file system of its own at ``folder``, where this machine lets us mount one."""

    def __init__(self, folder: Path, *, is_small: bool) -> None:
        self.folder = folder
        self.is_small = is_small

    async def fill(self, seconds: float) -> None:
        """Leave no room for a while."""
        await asyncio.to_thread(self._fill)
        await asyncio.sleep(seconds)
        (self.folder / _BALLAST).unlink()

    def _fill(self) -> None:
        with (self.folder / _BALLAST).open("ab", buffering=0) as ballast:
            for size in (len(_CHUNK), 4096, 1):
                try:
                    while ballast.write(_CHUNK[:size]):
                        pass
                except OSError as exc:
                    if exc.errno != errno.ENOSPC:
                        raise


@contextmanager
def mounted_disk(folder: Path) -> Iterator[SmallDisk]:
    """Mount a small disk in memory; without the right to, an ordinary folder, and it says so."""
    folder.mkdir(parents=True)
    mount = shutil.which("mount")
    command = [
        mount or "mount",
        "-t",
        "tmpfs",
        "-o",
        f"size={_SIZE},mode=0777",
        "tmpfs",
        str(folder),
    ]
    is_small = mount is not None and _run(command) == 0
    try:
        yield SmallDisk(folder, is_small=is_small)
    finally:
        if is_small:
            with contextlib.suppress(OSError):
                _run([shutil.which("umount") or "umount", "-l", folder])


def _run(command: Sequence[str | Path]) -> int:
    return subprocess.run(command, check=False, capture_output=True).returncode  # noqa: S603

"""One ``up`` for each data folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import PerroquetError


class AlreadyRunningError(PerroquetError):
    """Another process uses this data folder."""

    code = "already-running"


@contextmanager
def data_lock(data_dir: Path) -> Iterator[None]:
    """Hold the data folder; the kernel lets go of it when the process ends, however it ends.

    Raises:
        AlreadyRunningError: another process holds it.
    """
    with (data_dir / "up.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            file.seek(0)
            raise AlreadyRunningError(
                f"Perroquet is already running on {data_dir.resolve()} "
                f"(process {file.read().strip() or 'unknown'}). Stop it, or set PERROQUET_DATA_DIR "
                "to another folder."
            ) from exc
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield

"""``python -m workers.finetuning.run <run_dir>``: one fine-tune as a child process.

Driven by ``<run_dir>/spec.json``; events go to standard output (:mod:`workers.finetuning.events`),
logs to standard error. Standard input takes wishes, one a line (``pause``, ``stop``, ``cancel``),
and its end means that the parent is gone. SIGTERM is a pause. Started again on the same folder,
it goes on from the newest whole checkpoint. Of several processes under ``torchrun`` the first one
speaks and listens for all.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, TextIO

from core.errors import PerroquetError
from workers.finetuning.cards import keep_to_one_card
from workers.finetuning.events import EventWriter
from workers.finetuning.spec import RunSpec
from workers.finetuning.wishes import HelperDoneError, InterruptedRunError, Wish, Wishes

EXIT_FINISHED = 0
EXIT_FAILED = 70
# sysexits.h calls it a temporary failure: start it again and it goes on.
EXIT_PAUSED = 75
EXIT_CANCELLED = 76
_PR_SET_PDEATHSIG = 1
_LOCK_SECONDS = 30


def main(arguments: list[str] | None = None) -> int:
    """Run to the end, a pause, a cancellation or a failure; the exit code tells which."""
    run_dir = Path((arguments or sys.argv[1:])[0]).resolve()
    wishes = Wishes()
    signal.signal(signal.SIGTERM, lambda *_: wishes.want(Wish.PAUSE))
    signal.signal(signal.SIGINT, lambda *_: wishes.want(Wish.PAUSE))
    emit = EventWriter(_claim_stdout() if _is_first() else _nowhere())
    _die_with_parent()
    if _is_first():
        threading.Thread(target=_listen, args=(sys.stdin, wishes), daemon=True).start()
    return _run(run_dir, emit, wishes)


def _run(run_dir: Path, emit: EventWriter, wishes: Wishes) -> int:
    try:
        with _lock(run_dir) if _is_first() else contextlib.nullcontext():
            spec = keep_to_one_card(RunSpec.read(run_dir), os.environ)
            # Torch takes seconds to import; signals and bad options need not wait for it.
            from workers.finetuning.training import fine_tune

            fine_tune(spec, run_dir, emit, wishes)
    except HelperDoneError:
        return EXIT_FINISHED
    except InterruptedRunError as exc:
        is_pause = exc.wish is Wish.PAUSE
        emit("paused" if is_pause else "cancelled", step=exc.step)
        return EXIT_PAUSED if is_pause else EXIT_CANCELLED
    except PerroquetError as exc:
        emit("failed", code=exc.code, message=str(exc), data=exc.data)
        return EXIT_FAILED
    except Exception as exc:  # noqa: BLE001 (the seam: whatever broke becomes an event)
        traceback.print_exc()
        emit("failed", code="internal", message=f"{type(exc).__name__}: {exc}", data={})
        return EXIT_FAILED
    return EXIT_FINISHED


def _is_first() -> bool:
    """As :func:`workers.finetuning.parallel.is_first`, without torch."""
    return os.environ.get("RANK", "0") == "0"


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def _claim_stdout() -> TextIO:
    """Keep standard output for events; what libraries print goes to standard error."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


def _die_with_parent() -> None:
    """Ask Linux to end this process with the thread that started it.

    Checkpoints are whole or absent, so an end at any moment is safe; living on would not be, for
    another worker takes the job over.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _listen(stream: TextIO, wishes: Wishes) -> None:
    for line in stream:
        with contextlib.suppress(ValueError):
            wishes.want(Wish(line.strip()))
    # The parent closed its end, or died where there is no signal for that.
    os._exit(EXIT_PAUSED)


@contextlib.contextmanager
def _lock(run_dir: Path) -> Iterator[None]:
    """Hold the run folder alone: a predecessor that is still dying must not write into it."""
    with (run_dir / "lock").open("w") as stream:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as exc:
                if time.monotonic() > deadline:
                    raise RunFolderBusyError("Another trainer works in this run folder.") from exc
                time.sleep(0.2)
        yield


class RunFolderBusyError(PerroquetError):
    """Two processes were started on one run folder."""

    code = "training-busy"


def _leave(code: int) -> NoReturn:
    """End at once: the listener sits in a read that an orderly shutdown would wait for."""
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(main())

"""Run as a script: become another program that ends when its parent does, however that ends.

``python leash.py PARENT COMMAND…`` asks the kernel for a SIGKILL at the death of the parent and
turns into the command, with the same process id. Doing this between fork and exec, in a copy of a
process that has threads, could hang; in a process of its own it cannot.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Put the leash on and become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have ended before the line above.
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()

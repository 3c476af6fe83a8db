"""How the threads of one process share it."""

import sys

_SWITCH_SECONDS = 0.0005


def hand_over_quickly() -> None:
    """Let a thread that waits for the interpreter have it after half a millisecond.

    Python's default is 5 ms, which a hint would wait for behind whatever the event loop does next;
    the whole way of a message is to take less than ten (docs/log.md).
    """
    sys.setswitchinterval(_SWITCH_SECONDS)

"""With which exit code a command or a process ends; docs/operators.md has them as a table.

Python itself ends with FAILED after an error that nobody foresaw, and the parser of the command
line with USAGE.
"""

from core.errors import PerroquetError, ServiceUnavailableError, SettingsError, WrongUsageError

DONE = 0
# It was tried and did not come to be, or what was asked after is not well or not there.
FAILED = 1
# A command line or a setting of no known form: nothing was tried.
USAGE = 2
# SQL, Redis, the store or Discord cannot be reached or used; the same may go well later.
UNAVAILABLE = 3
# Ctrl-C, as shells count it: 128 and the number of SIGINT.
INTERRUPTED = 130


def exit_code(error: PerroquetError) -> int:
    """The exit code for an error that ends a process."""
    if isinstance(error, SettingsError | WrongUsageError):
        return USAGE
    return UNAVAILABLE if isinstance(error, ServiceUnavailableError) else FAILED

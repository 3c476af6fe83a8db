"""Which errors mean that the database is away, and not that the question was wrong."""

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

# PostgreSQL raises these as internal errors: a primary that has become a standby refuses writes,
# and a server ends a transaction that its client left open while the network stood still.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_PASSING_STATES = frozenset({"25006", "25P03", "25P04"})


def is_away(exc: BaseException) -> bool:
    """Whether trying again later may help: no connection, a fail-over, a pool with nothing free."""
    if isinstance(exc, OperationalError | InterfaceError | PoolTimeoutError):
        return True
    if not isinstance(exc, DBAPIError):
        return False
    return exc.connection_invalidated or getattr(exc.orig, "sqlstate", None) in _PASSING_STATES

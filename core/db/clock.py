"""The one clock that all hosts agree on: the database's."""

from typing import Any

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class epoch_now(FunctionElement[float]):  # noqa: N801 - named as it reads in SQL
    """Seconds since 1970-01-01 UTC by the database's clock, with a fraction.

    Leases, ages and dispatch times are computed with it inside the statement, so that the clocks
    of workers and bots never matter. It advances within a transaction.
    """

    type = Double()
    inherit_cache = True
    name = "epoch_now"


@compiles(epoch_now, "sqlite")
def _sqlite(_element: epoch_now, _compiler: SQLCompiler, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(epoch_now, "postgresql")
def _postgresql(_element: epoch_now, _compiler: SQLCompiler, **_: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"

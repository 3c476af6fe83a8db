"""Statements that are built once and run often.

Building a statement with SQLAlchemy costs several times its execution on SQLite (0.4 ms against
0.1 ms, docs/log.md), so those of the message path are made at import time with bound parameters and
run on the session's connection.
"""

from functools import cache
from typing import Any, TypeVar

from sqlalchemy import CursorResult, Executable, Insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import InstrumentedAttribute
from sqlalchemy.sql.dml import UpdateBase

V = TypeVar("V")


def run(session: Session, statement: Executable, **parameters: Any) -> CursorResult[Any]:
    """Run a prepared statement in the session's transaction, past the ORM.

    Parameters named in ``statement`` are filled in; an INSERT takes its columns from them.
    """
    return session.connection().execute(statement, parameters)


def insert_missing(
    session: Session, returning: InstrumentedAttribute[V], **values: Any
) -> V | None:
    """Insert a row unless one with its key is there; several writers may try at once.

    Args:
        session: an open transaction.
        returning: a column of the table; its value in the new row is the answer.
        **values: the row.

    Returns:
        The column of the new row, or None where a row was already there.
    """
    statement = _insert_or_nothing(returning, session.get_bind().dialect.name)
    found: V | None = run(session, statement, **values).scalar_one_or_none()
    return found


def count_changed(session: Session, statement: UpdateBase, **parameters: Any) -> int:
    """Run an UPDATE or DELETE and say how many rows it changed."""
    return run(session, statement, **parameters).rowcount


@cache
def _insert_or_nothing(returning: InstrumentedAttribute[Any], dialect: str) -> Insert:
    table = returning.class_.__table__
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing().returning(returning)

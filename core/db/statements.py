"""Two statements that SQLAlchemy's ORM leaves to each dialect."""

from typing import Any, TypeVar

from sqlalchemy import CursorResult
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import InstrumentedAttribute
from sqlalchemy.sql.dml import UpdateBase

from core.db.tables import Base

V = TypeVar("V")


def insert_missing(
    session: Session, returning: InstrumentedAttribute[V], table: type[Base], **values: Any
) -> V | None:
    """Insert a row unless one with its key is there; several writers may try at once.

    Returns:
        The column ``returning`` of the new row, or None where a row was already there.
    """
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table).values(**values).on_conflict_do_nothing().returning(returning)
    found: V | None = session.scalar(statement)
    return found


def count_changed(session: Session, statement: UpdateBase) -> int:
    """Run an UPDATE or DELETE and say how many rows it changed."""
    result = session.execute(statement)
    assert isinstance(result, CursorResult)  # noqa: S101 - what SQLAlchemy documents for DML
    return result.rowcount

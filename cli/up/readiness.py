"""When is a process ready? As soon as it says so where others can see it."""

import time
from collections.abc import Callable

import redis
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from cli.up.children import Child
from core.db.engines import reading
from core.embedded import is_listening
from core.errors import ServiceUnavailableError
from core.jobs.presence import alive

_POLL_SECONDS = 0.1


def wait_until(child: Child, is_ready: Callable[[], bool], timeout_seconds: float) -> None:
    """Wait for a child.

    Raises:
        ServiceUnavailableError: it ended, or it is not ready in time; the message names its log.
    """
    deadline = time.monotonic() + timeout_seconds
    while not is_ready():
        if child.has_ended or time.monotonic() > deadline:
            what = "ended at once" if child.has_ended else "is not ready"
            raise ServiceUnavailableError(
                f"The process “{child.spec.name}” {what}. {last_line(child)}"
                f"Its log: {child.spec.log_file}",
                service=child.spec.name,
            )
        time.sleep(_POLL_SECONDS)


def redis_answers(url: str) -> bool:
    """Whether a Redis or Valkey answers and has read its data."""
    client = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False
    finally:
        client.close()


def process_announced(engine: Engine, pid: int) -> bool:
    """Whether a process has said in SQL that it is alive."""
    try:
        with Session(reading(engine)) as session:
            return any(p.info.get("pid") == pid for p in alive(session, within_seconds=60))
    except SQLAlchemyError:
        return False


def port_answers(url: str) -> bool:
    """Whether the port of a URL accepts connections."""
    return is_listening(int(url.rsplit(":", 1)[1].split("/")[0]))


def last_line(child: Child) -> str:
    """The last line of a child's log, as a sentence's beginning."""
    try:
        lines = child.spec.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    written = [line for line in lines[-20:] if line.strip()]
    return f"It says: {written[-1].strip()} " if written else ""

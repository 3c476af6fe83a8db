"""When is a process ready? As soon as it says so where others can see it."""

import socket

import redis
from redis.exceptions import AuthenticationError, RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from cli.up.children import Child
from core.db.engines import reading
from core.errors import PerroquetError, ServiceUnavailableError, SettingsError
from core.exits import USAGE
from core.jobs.presence import Presence, alive

REDIS_URL_FORM = "redis://:password@host:6379/0, or rediss:// for TLS"
_SEEN_SECONDS = 60.0


class ChildFailedError(ServiceUnavailableError):
    """A child ended by itself, or is not ready in time."""

    code = "child-failed"


def describe_failure(child: Child) -> str:
    """What became of a child, with its last words and its log, in sentences."""
    what = child.ending if child.has_ended else "is not ready in time"
    return (
        f"The process “{child.spec.name}” {what}. {_last_words(child)}"
        f"Its log: {child.spec.log_file}"
    )


def redis_answers(url: str) -> bool:
    """Whether a Redis or Valkey answers and has read its data."""
    client = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False
    finally:
        client.close()


def check_redis_address(url: str) -> None:
    """Refuse an address that no waiting will make right.

    Raises:
        SettingsError: the URL is none.
        ServiceUnavailableError: Redis refuses the password.
    """
    try:
        client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    except ValueError as exc:
        raise SettingsError(
            f"REDIS_URL is no Redis URL; give it the form {REDIS_URL_FORM}.", key="REDIS_URL"
        ) from exc
    try:
        client.ping()
    except AuthenticationError as exc:
        raise ServiceUnavailableError(
            "Redis refuses the user or password in REDIS_URL.", service="redis"
        ) from exc
    except (RedisError, OSError):
        return
    finally:
        client.close()


def process_announced(engine: Engine, pid: int) -> bool:
    """Whether a process of this host has said in SQL that it is alive."""
    host = socket.gethostname()
    return any(p.info.get("pid") == pid and p.info.get("host") == host for p in _alive(engine))


def kind_announced(engine: Engine, kind: str) -> bool:
    """Whether a process of a kind, on whatever host, has said in SQL that it is alive."""
    return any(p.kind == kind for p in _alive(engine))


def _alive(engine: Engine) -> list[Presence]:
    try:
        with Session(reading(engine)) as session:
            return alive(session, within_seconds=_SEEN_SECONDS)
    except SQLAlchemyError:
        return []


def failure_of(child: Child) -> PerroquetError:
    """The error that a child is which did not come up; its exit code says whose fault that is."""
    error = SettingsError if child.process.returncode == USAGE else ChildFailedError
    return error(describe_failure(child), service=child.spec.name)


def _last_words(child: Child) -> str:
    """The last line of a child's log, as a sentence's beginning."""
    try:
        lines = child.spec.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    written = [line for line in lines[-20:] if line.strip()]
    return f"It says: {written[-1].strip()} " if written else ""

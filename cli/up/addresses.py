"""Where the embedded services of a running ``up`` are, for other commands on the same data."""

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.settings import RedisSettings, Settings

_FILE = "addresses.json"


@contextmanager
def published_addresses(data_dir: Path, redis_url: str) -> Iterator[None]:
    """Publish them for as long as the context lasts.

    The URL carries a password, so only the owner of the data folder may read the file.
    """
    file = data_dir / _FILE
    withdraw_addresses(data_dir)
    temporary = file.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as written:
        json.dump({"redis_url": redis_url}, written)
    temporary.rename(file)
    try:
        yield
    finally:
        withdraw_addresses(data_dir)


def withdraw_addresses(data_dir: Path) -> None:
    """Take away what an ``up`` that was killed left behind."""
    with contextlib.suppress(FileNotFoundError):
        (data_dir / _FILE).unlink()


def read_redis_url(data_dir: Path) -> str | None:
    """The URL of the Redis that a running ``up`` uses; None while it has not published any."""
    try:
        return str(json.loads((data_dir / _FILE).read_text(encoding="utf-8"))["redis_url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def with_redis(settings: Settings, url: str) -> Settings:
    """The same settings with another Redis."""
    redis = RedisSettings(**{**settings.redis.model_dump(), "url": url})
    return settings.model_copy(update={"redis": redis})

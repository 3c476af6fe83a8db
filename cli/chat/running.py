"""What a terminal conversation needs to run: found beside us, or started and stopped by us."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine

from cli.model_adding import ensure_default_model
from cli.up.addresses import (
    published_addresses,
    read_redis_url,
    with_redis,
    withdraw_addresses,
)
from cli.up.lock import AlreadyRunningError, data_lock
from cli.up.plan import make_plan
from cli.up.readiness import check_redis_address, kind_announced, redis_answers
from cli.up.screen import Screen
from cli.up.supervisor import Supervisor
from cli.wiring import open_database, open_migrated
from core.errors import ServiceUnavailableError
from core.settings import Settings, mask_url

_POLL_SECONDS = 0.2
_STARTING_SECONDS = 120.0


@dataclass(frozen=True)
class Running:
    """A database, and settings that name a Redis with a generation worker behind it.

    ``find_failure`` says in a sentence what failed of what was started here; None while all is
    well.
    """

    settings: Settings
    engine: Engine
    find_failure: Callable[[], str | None]


@contextmanager
def running(settings: Settings, screen: Screen) -> Iterator[Running]:
    """Join what runs on this data folder or behind REDIS_URL; start and stop a worker otherwise.

    An older database in the data folder is migrated. One that DATABASE_URL names may serve other
    hosts too, so it is refused.

    Args:
        settings: the installation's.
        screen: where it is said what starts.

    Raises:
        ServiceUnavailableError: Redis, the database or the worker does not come up.
    """
    with ExitStack() as stack:
        opened = open_database if settings.database.url else open_migrated
        engine = stack.enter_context(opened(settings))
        if settings.redis.url:
            _check_own_redis(settings.redis.url)
        if settings.redis.url and kind_announced(engine, "generate"):
            yield Running(settings, engine, lambda: None)
            return
        try:
            stack.enter_context(data_lock(settings.data_dir))
        except AlreadyRunningError:
            yield Running(_join(settings), engine, lambda: None)
            return
        withdraw_addresses(settings.data_dir)
        ensure_default_model(settings, screen)
        plan = make_plan(settings, engine, ("generate",))
        supervisor = Supervisor(plan.services, screen)
        stack.callback(supervisor.stop)
        supervisor.start()
        stack.enter_context(published_addresses(settings.data_dir, plan.redis_url))
        yield Running(with_redis(settings, plan.redis_url), engine, supervisor.find_failure)


def _check_own_redis(url: str) -> None:
    check_redis_address(url)
    if not redis_answers(url):
        raise ServiceUnavailableError(f"Redis at {mask_url(url)} does not answer.", service="redis")


def _join(settings: Settings) -> Settings:
    """Wait for the ``up`` that holds the data folder to be ready."""
    if settings.redis.url:
        return settings
    deadline = time.monotonic() + _STARTING_SECONDS
    while (url := read_redis_url(settings.data_dir)) is None:
        if time.monotonic() > deadline:
            raise ServiceUnavailableError(
                "Perroquet is still starting on this data folder; try again in a moment.",
                service="redis",
            )
        time.sleep(_POLL_SECONDS)
    return with_redis(settings, url)

"""Single processes for those who supervise them themselves: workers, the bot, the playground."""

import os
from collections.abc import Mapping
from types import MappingProxyType

from cli.up.addresses import read_redis_url, with_redis
from core import loops
from core.errors import SettingsError
from core.logging import configure_logging
from core.settings import Settings, load_settings

SHARDS_VARIABLE = "PERROQUET_DISCORD__SHARDS"


def run_worker(kind: str) -> None:
    """Run a worker of a kind until SIGTERM.

    Raises:
        SettingsError: there is no Redis, neither set nor that of a running ``up``.
    """
    settings = _settings(kind, needs_redis=True)
    # PyTorch is imported here and not before.
    from workers.main import run_worker as run

    run(kind, settings)


def run_bot(shards: str = "") -> None:
    """Run the bot until SIGTERM.

    Args:
        shards: those to hear, such as ``0-3/16``; empty leaves it to the settings.

    Raises:
        SettingsError: the token or Redis is missing, or the shards are out of form.
    """
    more = {SHARDS_VARIABLE: shards} if shards else {}
    settings = _settings("bot", needs_redis=True, more=more)
    from bot.main import run_bot as run

    loops.run(run(settings))


def run_playground() -> None:
    """Run the playground until SIGTERM.

    Raises:
        SettingsError: there is a Discord token.
        ServiceUnavailableError: its port is taken.
    """
    settings = _settings("playground", needs_redis=False)
    from playground.main import run_playground as run

    loops.run(run(settings))


def _settings(
    process: str, *, needs_redis: bool, more: Mapping[str, str] = MappingProxyType({})
) -> Settings:
    settings = load_settings({**os.environ, **more})
    configure_logging(settings.log, process=process)
    if not needs_redis or settings.redis.url:
        return settings
    url = read_redis_url(settings.data_dir)
    if url is None:
        missing = "REDIS_URL"
        if process == "bot" and not (settings.discord_token or settings.discord.api_base):
            missing = "DISCORD_TOKEN and no REDIS_URL"
        raise SettingsError(
            f"There is no {missing}, and no “perroquet up” runs on this data folder.",
            key="REDIS_URL",
        )
    return with_redis(settings, url)

"""Which processes make up an installation on one machine."""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from cli.up.children import ChildSpec
from core.embedded import free_port, is_listening, valkey_command
from core.errors import SettingsError
from core.settings import Settings

_SECRETS = ("DISCORD_TOKEN", "DISCORD_TOKEN_FILE")


@dataclass(frozen=True)
class Plan:
    """The children in the order of their start, and what they share."""

    environment: dict[str, str]
    redis_url: str
    valkey: ChildSpec | None
    playground: ChildSpec | None
    page_url: str | None
    others: tuple[ChildSpec, ...]


def make_plan(settings: Settings, kinds: Iterable[str]) -> Plan:
    """Decide what to start.

    Args:
        settings: the installation's.
        kinds: of ``generate``, ``finetune``, ``upkeep``, ``bot``, ``playground``: those wanted. The
            playground is left out where there is a Discord token.

    Raises:
        SettingsError: the playground's port is taken.
    """
    wanted = set(kinds)
    environment = dict(os.environ)
    # OpenMP's threads spin while they wait. Where processes share cores, endless spinning made
    # answers 2.3 times slower than a short one (docs/log.md).
    environment.setdefault("GOMP_SPINCOUNT", "2000")
    environment["PERROQUET_DATA_DIR"] = str(settings.data_dir.resolve())
    redis_url = settings.redis.url
    valkey = None
    if not redis_url:
        port = free_port()
        redis_url = f"redis://127.0.0.1:{port}/0"
        command = valkey_command(settings.data_dir / "valkey", port)
        valkey = _spec(settings, "valkey", command, {"PATH": os.environ.get("PATH", "")})
    environment["REDIS_URL"] = redis_url
    playground, page_url = None, None
    if "playground" in wanted and not settings.discord_token:
        playground, page_url = _plan_playground(settings, environment)
    modules = {
        "generate": ["workers.main", "generate"],
        "finetune": ["workers.main", "finetune"],
        "upkeep": ["workers.main", "upkeep"],
        "bot": ["bot.main"],
    }
    others = tuple(
        _spec(settings, kind, [sys.executable, "-m", *module], _for(kind, environment))
        for kind, module in modules.items()
        if kind in wanted
    )
    return Plan(environment, redis_url, valkey, playground, page_url, others)


def _plan_playground(settings: Settings, environment: dict[str, str]) -> tuple[ChildSpec, str]:
    port = settings.playground.port or free_port()
    if is_listening(port):
        raise SettingsError(
            f"Port {port} of the playground is taken; set PERROQUET_PLAYGROUND__PORT to another "
            "one, or to 0 for any.",
            key="playground.port",
        )
    base = f"http://127.0.0.1:{port}"
    environment["PERROQUET_PLAYGROUND__PORT"] = str(port)
    environment["PERROQUET_DISCORD__API_BASE"] = f"{base}/api/v10"
    environment["PERROQUET_DISCORD__GATEWAY_URL"] = f"ws://127.0.0.1:{port}/gateway"
    command = [sys.executable, "-m", "playground.main"]
    return _spec(settings, "playground", command, environment), f"{base}/"


def _for(kind: str, environment: dict[str, str]) -> dict[str, str]:
    """Only the bot is given the token."""
    if kind == "bot":
        return environment
    return {name: value for name, value in environment.items() if name not in _SECRETS}


def _spec(
    settings: Settings, name: str, command: list[str], environment: dict[str, str]
) -> ChildSpec:
    log_file = settings.data_dir.resolve() / "logs" / f"{name}.log"
    stop_seconds = settings.ledger.drain_seconds + 5
    return ChildSpec(name, command, environment, log_file, stop_seconds)

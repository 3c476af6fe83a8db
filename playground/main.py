"""``python -m playground.main``: the playground as a process."""

import asyncio
import os
import signal
import sys

import structlog

from core import loops
from core.errors import PerroquetError
from core.exits import DONE, exit_code
from core.logging import configure_logging
from core.settings import Settings, load_settings
from playground.server import PlaygroundServer

log = structlog.get_logger(__name__)


async def run_playground(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: there is a Discord token.
        ServiceUnavailableError: the port is taken.
    """
    server = PlaygroundServer(settings, state_file=settings.data_dir / "playground.json")
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await server.start()
    log.info("listening", url=server.base)
    await ended.wait()
    await server.stop()


def main() -> int:
    """Read the settings from the environment and serve."""
    try:
        settings = load_settings(os.environ)
        configure_logging(settings.log, process="playground")
        loops.run(run_playground(settings))
    except PerroquetError as exc:
        sys.stderr.write(f"{exc}\n")
        return exit_code(exc)
    return DONE


if __name__ == "__main__":
    sys.exit(main())

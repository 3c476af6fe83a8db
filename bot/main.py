"""``python -m bot.main``: the bot process."""

import asyncio
import os
import signal
import sys

import aiohttp
import discord
import structlog

from bot.app import build_bot
from bot.arriving import await_discord
from bot.client import PerroquetBot
from bot.endpoint import choose_endpoint
from core import loops
from core.errors import PerroquetError, ServiceUnavailableError, SettingsError
from core.exits import DONE, exit_code
from core.logging import configure_logging
from core.monitoring.tracing import start_tracing, stop_tracing
from core.settings import Settings, load_settings
from migrations.runner import check_at_start

log = structlog.get_logger(__name__)

_TOO_MANY_REQUESTS = 429


async def run_bot(settings: Settings) -> None:
    """Run the bot until SIGTERM or SIGINT. A Discord that cannot be reached yet is waited for.

    Raises:
        SettingsError: Discord refuses the token, or an intent that the bot needs is off.
        ServiceUnavailableError: Discord does not answer properly.
        SchemaNewerError, SchemaOlderError: the database has another schema than the bot needs.
    """
    token = choose_endpoint(settings)
    await asyncio.to_thread(check_at_start, settings.database_url)
    start_tracing(settings.tracing, "bot")
    bot = build_bot(settings)
    loop = asyncio.get_running_loop()
    try:
        async with bot:
            running = asyncio.create_task(_arrive(bot, token))
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, running.cancel)
            await running
    except asyncio.CancelledError:
        log.info("ending")
    except discord.LoginFailure as exc:
        raise SettingsError("Discord refuses the token.", key="DISCORD_TOKEN") from exc
    except discord.DiscordServerError as exc:
        raise _unavailable(f"status {exc.status}") from exc
    except aiohttp.ClientError as exc:
        raise _unavailable(str(exc)) from exc
    except discord.HTTPException as exc:
        if exc.status != _TOO_MANY_REQUESTS:
            raise
        raise _unavailable(f"status {exc.status}") from exc
    except discord.PrivilegedIntentsRequired as exc:
        raise SettingsError(
            "The Message Content intent is off; switch it on in Discord's developer portal.",
            key="DISCORD_TOKEN",
        ) from exc
    finally:
        await asyncio.to_thread(stop_tracing)


async def _arrive(bot: PerroquetBot, token: str) -> None:
    await await_discord()
    await bot.start(token)


def _unavailable(reason: str) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        f"Discord does not let the bot in just now ({reason}); start it again in a moment.",
        service="discord",
    )


def main() -> int:
    """Read the settings from the environment and run."""
    try:
        settings = load_settings(os.environ)
        configure_logging(settings.log, process="bot")
        loops.run(run_bot(settings))
    except PerroquetError as exc:
        sys.stderr.write(f"{exc}\n")
        return exit_code(exc)
    return DONE


if __name__ == "__main__":
    sys.exit(main())

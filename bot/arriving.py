"""Waiting for a Discord that cannot be reached, so that start order does not matter."""

import asyncio

import aiohttp
import structlog
from discord.http import Route

log = structlog.get_logger(__name__)

_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 60.0
_TIMEOUT = aiohttp.ClientTimeout(total=20)
_SERVER_ERROR = 500


async def await_discord(first_wait_seconds: float = _FIRST_WAIT_SECONDS) -> None:
    """Return once Discord answers anything but an error of its own.

    Asks for the gateway's address, for which nobody need be logged in. The waits double up to a
    minute; that there is one is logged once. Only cancellation ends the waiting.
    """
    wait = first_wait_seconds
    is_said = False
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        while (trouble := await _look(session)) is not None:
            if not is_said:
                log.warning("discord_away", error=trouble)
                is_said = True
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
    if is_said:
        log.info("discord_back")


async def _look(session: aiohttp.ClientSession) -> str | None:
    """What is wrong with Discord; None where it answers."""
    try:
        async with session.get(f"{Route.BASE}/gateway") as response:
            return None if response.status < _SERVER_ERROR else f"status {response.status}"
    except (aiohttp.ClientError, TimeoutError) as exc:
        return str(exc) or type(exc).__name__

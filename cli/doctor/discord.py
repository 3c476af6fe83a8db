"""Discord: the token is taken, and the intent that the bot needs is on."""

import asyncio
from typing import Any

import aiohttp

from cli.doctor.findings import Finding, failed, ok, skipped

_API = "https://discord.com/api/v10"
_TIMEOUT_SECONDS = 8.0
# Flags of an application: Message Content is granted, or switched on below a hundred servers.
_MESSAGE_CONTENT = 1 << 18 | 1 << 19
_UNAUTHORISED = 401


def check_discord(token: str, api_base: str) -> list[Finding]:
    """Ask Discord about the application that the token belongs to.

    Args:
        token: of the bot; empty means the playground, where there is nothing to check.
        api_base: of the settings; empty means Discord itself.
    """
    if not token:
        return [skipped("Discord", "there is no DISCORD_TOKEN; the bot speaks to the playground")]
    try:
        status, application = asyncio.run(_ask(token, api_base or _API))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
        return [
            failed(
                "Discord",
                f"cannot be reached: {type(exc).__name__}",
                "Check the network, DNS and proxy of this host.",
            )
        ]
    if status == _UNAUTHORISED:
        return [
            failed(
                "Discord",
                "refuses the token",
                "Reset the token in Discord's developer portal (Bot, Reset Token) and set it anew.",
            )
        ]
    if status >= 400:
        return [failed("Discord", f"answers {status}", "Try again in a few minutes.")]
    return [
        ok("Discord", f"takes the token of “{application.get('name', '?')}”"),
        check_intents(int(application.get("flags") or 0)),
    ]


def check_intents(flags: int) -> Finding:
    """Whether the bot may read what it is told."""
    if flags & _MESSAGE_CONTENT:
        return ok("Discord intents", "Message Content is on")
    return failed(
        "Discord intents",
        "Message Content is off: the bot would not start",
        "Switch on Message Content in Discord's developer portal (Bot, Privileged Intents).",
    )


async def _ask(token: str, base: str) -> tuple[int, dict[str, Any]]:
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    headers = {"Authorization": f"Bot {token}"}
    async with (
        aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
        session.get(f"{base}/applications/@me", allow_redirects=False) as response,
    ):
        return response.status, await response.json() if response.status == 200 else {}

"""Discord: the token is taken, the intent is on, and servers grant what the bot needs."""

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp

from cli.doctor.findings import Finding, failed, ok, reason_of, skipped, warning

_API = "https://discord.com/api/v10"
_TIMEOUT_SECONDS = 8.0
# Flags of an application: Message Content is granted, or switched on below a hundred servers.
_MESSAGE_CONTENT = 1 << 18 | 1 << 19
_OK, _UNAUTHORISED = 200, 401
# So many servers are named.
_TOLD = 3


def check_discord(token: str, api_base: str) -> list[Finding]:
    """Ask Discord about the application that the token belongs to.

    Args:
        token: of the bot; empty means the playground, where there is nothing to check.
        api_base: of the settings; empty means Discord itself.
    """
    if not token:
        return [skipped("Discord", "there is no DISCORD_TOKEN; the bot speaks to the playground")]
    try:
        status, application, guilds = asyncio.run(_ask(token, api_base or _API))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
        return [
            failed(
                "Discord",
                f"cannot be reached: {reason_of(exc)}",
                "Check the network, DNS and firewall of this host.",
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
        check_permissions(guilds, int(application["id"])),
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


def check_permissions(guilds: Sequence[dict[str, Any]], application_id: int) -> Finding:
    """Whether each server grants the bot's roles what it needs; a channel may still differ.

    Args:
        guilds: of the bot, as Discord lists them: ``name`` and ``permissions``.
        application_id: for the link that asks for what is missing.
    """
    from bot.access import invite_url, missing_permissions

    link = invite_url(application_id)
    if not guilds:
        return warning("Discord permissions", "the bot is in no server", f"Invite it: {link}")
    lacking = {
        str(guild.get("name")): missing
        for guild in guilds
        if (missing := missing_permissions(int(guild.get("permissions", 0))))
    }
    if not lacking:
        return ok("Discord permissions", f"granted in {len(guilds)} servers; invite: {link}")
    told = "; ".join(f"“{name}” lacks {', '.join(m)}" for name, m in [*lacking.items()][:_TOLD])
    more = f" and {len(lacking) - _TOLD} more servers" if len(lacking) > _TOLD else ""
    return warning(
        "Discord permissions",
        told + more,
        f"Grant them to the bot's role there, or invite it once more: {link}",
    )


async def _ask(token: str, base: str) -> tuple[int, dict[str, Any], list[dict[str, Any]]]:
    """The application and up to 200 of its bot's servers; nothing where Discord refuses."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    headers = {"Authorization": f"Bot {token}"}
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        found: list[Any] = []
        for path in ("applications/@me", "users/@me/guilds"):
            async with session.get(f"{base}/{path}", allow_redirects=False) as response:
                if response.status != _OK:
                    return response.status, {}, []
                found.append(await response.json())
    return _OK, found[0], found[1]

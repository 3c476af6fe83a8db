"""Where Discord is: Discord itself, or the playground on loopback."""

import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from core.errors import SettingsError
from core.playground_token import PLAYGROUND_TOKEN
from core.settings import Settings


def choose_endpoint(settings: Settings) -> str:
    """Point discord.py at the settings' endpoint.

    discord.py keeps both addresses as class attributes, so this holds for the whole process.

    Returns:
        The token to log in with.

    Raises:
        SettingsError: there is neither a token nor a playground.
    """
    token = settings.discord_token
    if settings.discord.api_base:
        Route.BASE = settings.discord.api_base
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(settings.discord.gateway_url)
        discord.Asset.BASE = settings.discord.api_base.rsplit("/api", 1)[0]
        return token or PLAYGROUND_TOKEN
    if not token:
        raise SettingsError(
            "There is no DISCORD_TOKEN. Set it, or run `perroquet up`, which starts the "
            "playground when there is none.",
            key="DISCORD_TOKEN",
        )
    return token

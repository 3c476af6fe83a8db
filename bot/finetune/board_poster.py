"""How a board stands in its channel, with Discord's errors translated at this one seam."""

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import discord

from bot.chat.poster import DiscordUnavailableError, MessageGoneError, UndeliverableError

_UNKNOWN_MESSAGE = 10008
_TOO_MANY_REQUESTS = 429


class BoardPoster:
    """Posts and edits one message with an embed and buttons."""

    def __init__(self, client: discord.Client) -> None:
        self._client = client

    async def post(
        self, channel_id: int, embed: discord.Embed, view: discord.ui.View, *, nonce: str
    ) -> int:
        """Post a board once for a nonce; returns the message's id.

        Raises:
            UndeliverableError: the channel is gone, or the bot may not write in it.
            DiscordUnavailableError: Discord did not answer properly.
        """
        channel = self._client.get_partial_messageable(channel_id)
        with _translated():
            message = await channel.send(embed=embed, view=view, nonce=nonce)
        return message.id

    async def edit(
        self, channel_id: int, message_id: int, embed: discord.Embed, view: discord.ui.View
    ) -> None:
        """Change what a board shows.

        Raises:
            MessageGoneError: somebody deleted it.
            UndeliverableError, DiscordUnavailableError: as ``post``.
        """
        channel = self._client.get_partial_messageable(channel_id)
        with _translated():
            await channel.get_partial_message(message_id).edit(embed=embed, view=view)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (discord.HTTPException, aiohttp.ClientError, OSError) as exc:
        if isinstance(exc, discord.NotFound) and exc.code == _UNKNOWN_MESSAGE:
            raise MessageGoneError("The message is gone.") from exc
        if isinstance(exc, discord.HTTPException) and _is_final(exc.status):
            raise UndeliverableError(
                f"Discord refused the message ({exc.code}).", reason=f"refused-{exc.code}"
            ) from exc
        raise DiscordUnavailableError(f"Discord is unavailable: {type(exc).__name__}.") from exc


def _is_final(status: int) -> bool:
    return 400 <= status < 500 and status != _TOO_MANY_REQUESTS

"""How a board stands in its channel, with Discord's errors translated at this one seam."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import discord

from bot.chat.poster import DiscordUnavailableError, MessageGoneError, UndeliverableError

_UNKNOWN_MESSAGE = 10008
_TOO_MANY_REQUESTS = 429


PICTURE = "curve.png"


class BoardPoster:
    """Posts and edits one message with an embed, buttons and a picture.

    The embed names its picture ``attachment://curve.png``; one that stays is not sent again.
    """

    def __init__(self, client: discord.Client) -> None:
        self._client = client

    async def post(
        self,
        channel_id: int,
        embed: discord.Embed,
        view: discord.ui.View,
        picture: bytes | None,
        *,
        nonce: str,
    ) -> int:
        """Post a board once for a nonce; returns the message's id.

        Raises:
            UndeliverableError: the channel is gone, or the bot may not write in it.
            DiscordUnavailableError: Discord did not answer properly.
        """
        channel = self._client.get_partial_messageable(channel_id)
        with _translated():
            message = await channel.send(
                embed=embed, view=view, files=attached(picture), nonce=nonce
            )
        return message.id

    async def edit(
        self,
        channel_id: int,
        message_id: int,
        embed: discord.Embed,
        view: discord.ui.View,
        picture: bytes | None,
        *,
        keeps_picture: bool,
    ) -> None:
        """Change what a board shows.

        Args:
            channel_id, message_id: the board.
            embed: the new text.
            view: the new buttons.
            picture: a new picture; None for none, unless ``keeps_picture``.
            keeps_picture: whether the picture stays as it is.

        Raises:
            MessageGoneError: somebody deleted it.
            UndeliverableError, DiscordUnavailableError: as ``post``.
        """
        channel = self._client.get_partial_messageable(channel_id)
        message = channel.get_partial_message(message_id)
        with _translated():
            if keeps_picture:
                await message.edit(embed=embed, view=view)
            else:
                await message.edit(embed=embed, view=view, attachments=attached(picture))


def attached(picture: bytes | None) -> list[discord.File]:
    """The picture as what a message takes, under the name that embeds use: one file or none."""
    return [] if picture is None else [discord.File(io.BytesIO(picture), PICTURE)]


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

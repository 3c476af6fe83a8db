"""What a reply does in Discord, with Discord's errors translated at this one seam."""

from typing import NoReturn, Protocol

import aiohttp
import discord

from core.errors import PerroquetError

_UNKNOWN_MESSAGE = 10008
_HISTORY_SCANNED = 100


class MessageGoneError(PerroquetError):
    """The message to edit is deleted."""

    code = "message-gone"


class UndeliverableError(PerroquetError):
    """The channel is gone, or the bot may not write in it; trying again is no use."""

    code = "undeliverable"


class DiscordUnavailableError(PerroquetError):
    """Discord did not answer properly; trying again later is right."""

    code = "discord-unavailable"


class Poster(Protocol):
    """Posts, edits and deletes by id. Each raises the three errors above where they apply."""

    async def post(self, channel_id: int, text: str, *, nonce: str, reply_to: int | None) -> int:
        """Post a message once for a nonce; returns its id."""
        ...

    async def edit(self, channel_id: int, message_id: int, text: str) -> None:
        """Replace a message's text."""
        ...

    async def delete(self, channel_id: int, message_id: int) -> None:
        """Delete a message; one that is gone is fine."""
        ...

    async def show_typing(self, channel_id: int) -> None:
        """Show the bot as typing for ten seconds."""
        ...

    async def find_replies(self, channel_id: int, trigger_id: int) -> list[int]:
        """The ids of the bot's own messages that reply to a message, oldest first."""
        ...


class DiscordPoster:
    """Posts through discord.py, which waits for rate limits by itself."""

    def __init__(self, client: discord.Client) -> None:
        self._client = client

    async def post(self, channel_id: int, text: str, *, nonce: str, reply_to: int | None) -> int:
        """Post a message once for a nonce; Discord returns the first one for a repetition."""
        channel = self._client.get_partial_messageable(channel_id)
        try:
            if reply_to is None:
                message = await channel.send(text, nonce=nonce)
            else:
                reference = discord.MessageReference(
                    message_id=reply_to, channel_id=channel_id, fail_if_not_exists=False
                )
                message = await channel.send(text, nonce=nonce, reference=reference)
        except (discord.HTTPException, aiohttp.ClientError, OSError) as exc:
            _translate(exc)
        return message.id

    async def edit(self, channel_id: int, message_id: int, text: str) -> None:
        """Replace a message's text."""
        channel = self._client.get_partial_messageable(channel_id)
        try:
            await channel.get_partial_message(message_id).edit(content=text)
        except (discord.HTTPException, aiohttp.ClientError, OSError) as exc:
            _translate(exc)

    async def delete(self, channel_id: int, message_id: int) -> None:
        """Delete a message; one that is gone is fine."""
        channel = self._client.get_partial_messageable(channel_id)
        try:
            await channel.get_partial_message(message_id).delete()
        except discord.NotFound:
            return
        except (discord.HTTPException, aiohttp.ClientError, OSError) as exc:
            _translate(exc)

    async def show_typing(self, channel_id: int) -> None:
        """Show the bot as typing for ten seconds."""
        try:
            await self._client.get_partial_messageable(channel_id).typing()
        except (discord.HTTPException, aiohttp.ClientError, OSError) as exc:
            _translate(exc)

    async def find_replies(self, channel_id: int, trigger_id: int) -> list[int]:
        """The ids of the bot's own messages that reply to a message, oldest first."""
        channel = self._client.get_partial_messageable(channel_id)
        user = self._client.user
        found: list[int] = []
        try:
            async for message in channel.history(
                limit=_HISTORY_SCANNED, after=discord.Object(trigger_id), oldest_first=True
            ):
                reference = message.reference
                is_own = user is not None and message.author.id == user.id
                if is_own and reference is not None and reference.message_id == trigger_id:
                    found.append(message.id)
        except (discord.HTTPException, aiohttp.ClientError, OSError) as exc:
            _translate(exc)
        return found


def _translate(exc: Exception) -> NoReturn:
    if isinstance(exc, discord.NotFound) and exc.code == _UNKNOWN_MESSAGE:
        raise MessageGoneError("The message is gone.") from exc
    if isinstance(exc, discord.Forbidden | discord.NotFound):
        reason = "forbidden" if isinstance(exc, discord.Forbidden) else "gone"
        raise UndeliverableError(f"The channel is {reason}.", reason=reason) from exc
    if isinstance(exc, discord.HTTPException) and 400 <= exc.status < 500 and exc.status != 429:
        raise UndeliverableError(
            f"Discord refused the message ({exc.code}).", reason=f"refused-{exc.code}"
        ) from exc
    raise DiscordUnavailableError(f"Discord is unavailable: {type(exc).__name__}.") from exc

"""Attachments on their way from Discord into the store: in chunks, bounded, from Discord alone."""

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import yarl

from core.corpora.uploads import UploadWriter
from core.errors import InvalidInputError, ServiceUnavailableError

# Where Discord keeps what people attach.
DISCORD_ORIGINS = frozenset(
    yarl.URL(f"https://{host}") for host in ("cdn.discordapp.com", "media.discordapp.net")
)
_CHUNK_BYTES = 1 << 18
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 30.0
_OK = 200
_GONE = (403, 404, 410)


class UploadForeignError(InvalidInputError):
    """The attachment lies somewhere else than at Discord; nothing was asked of that place."""

    code = "upload-foreign"


class UploadGoneError(InvalidInputError):
    """The attachment was deleted before it was read; ``data["file"]`` names it."""

    code = "upload-gone"


class UploadTooLargeError(InvalidInputError):
    """There is more than may be taken in; ``data["limit"]`` is in MiB."""

    code = "upload-too-large"

    def __init__(self, max_bytes: int) -> None:
        limit = max_bytes / 2**20
        super().__init__(
            f"There is more than {limit:g} MiB.",
            limit=int(limit) if limit == int(limit) else round(limit, 3),
        )


@dataclass(frozen=True, slots=True)
class Attached:
    """One attachment as Discord describes it; the description may be wrong.

    ``is_validation`` marks one that is only to judge by.
    """

    name: str
    url: str
    declared_bytes: int
    is_validation: bool = False


def allowed_origins(api_base: str) -> frozenset[yarl.URL]:
    """The places that attachments are taken from.

    Args:
        api_base: of the settings. The playground keeps attachments itself, and it is trusted only
            on loopback.
    """
    if not api_base:
        return DISCORD_ORIGINS
    origin = yarl.URL(api_base).origin()
    return frozenset({origin}) if _is_loopback(origin.host or "") else DISCORD_ORIGINS


class AttachmentDownloader:
    """Downloads attachments. Neither redirects nor packed transfers are followed."""

    def __init__(self, origins: frozenset[yarl.URL]) -> None:
        self._origins = origins
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def download(
        self, attached: Attached, open_writer: Callable[[], UploadWriter], max_bytes: int
    ) -> UploadWriter:
        """Bring one attachment into the store.

        Args:
            attached: what and where.
            open_writer: opens the file in the store; called in a thread.
            max_bytes: how much may still come, whatever Discord said of it.

        Returns:
            The writer with everything written, not yet finished.

        Raises:
            UploadForeignError, UploadGoneError, UploadTooLargeError: see there.
            ServiceUnavailableError: Discord or the store cannot be reached.
        """
        url = yarl.URL(attached.url)
        if not url.is_absolute() or url.user or url.origin() not in self._origins:
            raise UploadForeignError("The attachment does not lie at Discord.", file=attached.name)
        try:
            async with self._open_session().get(url, allow_redirects=False) as response:
                if response.status in _GONE:
                    raise UploadGoneError(f"“{attached.name}” is gone.", file=attached.name)
                if response.status != _OK:
                    raise _unavailable(f"status {response.status}")
                writer = await asyncio.to_thread(open_writer)
                try:
                    await _copy(response.content, writer, max_bytes)
                except BaseException:
                    await asyncio.to_thread(writer.abort)
                    raise
                return writer
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise _unavailable(type(exc).__name__) from exc

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS
                ),
                # What is unpacked on the way could be any size; corpora are unpacked with bounds.
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
            )
        return self._session


async def _copy(source: aiohttp.StreamReader, writer: UploadWriter, max_bytes: int) -> None:
    async for chunk in source.iter_chunked(_CHUNK_BYTES):
        if writer.total_bytes + len(chunk) > max_bytes:
            raise UploadTooLargeError(max_bytes)
        await asyncio.to_thread(writer.write, chunk)


def _unavailable(reason: str) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        f"The attachment cannot be had from Discord: {reason}.", service="discord"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

import io
from contextlib import asynccontextmanager

import pytest
import yarl
from aiohttp import web

from bot.finetune.downloading import Attached, AttachmentDownloader
from core.corpora.uploads import UploadWriter
from core.errors import ServiceUnavailableError


@asynccontextmanager
async def serving(answer):
    """A server on loopback that answers everything alike; gives its address."""
    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = site._server.sockets[0].getsockname()
    yield yarl.URL(f"http://{host}:{port}")
    await runner.cleanup()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_leads_nowhere(status):
    asked, opened = [], []

    async def elsewhere(request):
        asked.append(request.path)
        return web.Response(text="what only this host can reach")

    async def redirect(_request):
        return web.Response(status=status, headers={"Location": str(target / "secrets")})

    def open_writer():
        opened.append(io.BytesIO())
        return UploadWriter(opened[-1])

    async with serving(elsewhere) as target, serving(redirect) as origin:
        downloader = AttachmentDownloader(frozenset({origin}))
        attached = Attached("a.txt", str(origin / "a.txt"), 10)
        with pytest.raises(ServiceUnavailableError, match=f"status {status}"):
            await downloader.download(attached, open_writer, 1000)
        await downloader.close()
    assert (asked, opened) == ([], [])

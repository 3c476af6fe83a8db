"""``/metrics``, ``/healthz`` and ``/readyz`` of one process, over HTTP."""

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import redis
import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from core.errors import PerroquetError, SettingsError
from core.settings import MonitoringSettings

log = structlog.get_logger(__name__)

Check = Callable[[], object]
_REDIS_SECONDS = 2.0
_EXPECTED = (SQLAlchemyError, RedisError, PerroquetError, OSError)


class MonitoringServer:
    """Answers an operator's tools in threads of its own.

    ``/healthz`` says that the process runs: 200, or 503 where a check of ``alive`` raises, which
    only a restart mends. ``/readyz`` says whether it can work now: 200 or 503, with a word for each
    check of ``ready``. Both answer JSON. ``before`` is called ahead of each ``/metrics``.
    """

    def __init__(
        self,
        settings: MonitoringSettings,
        *,
        ready: Mapping[str, Check],
        alive: Mapping[str, Check] | None = None,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        self._settings = settings
        self._pages: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/metrics": lambda: _metrics(before),
            "/healthz": lambda: _judge(alive or {}),
            "/readyz": lambda: _judge(ready),
        }
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Listen, unless the port is 0.

        Raises:
            SettingsError: the port is taken, or the host is not this machine's.
        """
        if not self._settings.port:
            return
        address = (self._settings.host, self._settings.port)
        try:
            self._server = ThreadingHTTPServer(address, _make_handler(self._pages))
        except OSError as exc:
            raise SettingsError(
                f"Monitoring cannot listen on {address[0]}:{address[1]} ({exc.strerror}); set "
                "PERROQUET_MONITORING__PORT to another port, or to 0 for none.",
                key="monitoring.port",
            ) from exc
        threading.Thread(target=self._server.serve_forever, name="monitoring", daemon=True).start()
        log.info("monitoring", host=address[0], port=address[1])

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def redis_check(url: str) -> Check:
    """A check that Redis answers."""
    client = redis.Redis.from_url(
        url, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS
    )
    return client.ping


def _metrics(before: Callable[[], object]) -> tuple[int, str, bytes]:
    try:
        before()
    except _EXPECTED as exc:
        # What is known without it is still worth having; the age of the rest shows in the figures.
        log.warning("figures_not_renewed", error=type(exc).__name__)
    return 200, CONTENT_TYPE_LATEST, generate_latest()


def _judge(checks: Mapping[str, Check]) -> tuple[int, str, bytes]:
    said = {}
    for name, check in checks.items():
        try:
            check()
            said[name] = "ok"
        except _EXPECTED as exc:
            # No more than the class: texts can hold addresses.
            said[name] = type(exc).__name__
    is_well = all(word == "ok" for word in said.values())
    body = json.dumps({"status": "ok" if is_well else "unavailable", **said}).encode()
    return 200 if is_well else 503, "application/json", body


def _make_handler(
    pages: Mapping[str, Callable[[], tuple[int, str, bytes]]],
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """GET and HEAD of the known paths."""

        def do_GET(self) -> None:
            """Answer with the page."""
            page = pages.get(self.path.partition("?")[0])
            status, kind, body = page() if page else (404, "text/plain", b"Not found\n")
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: Any) -> None:
            """Scrapes come every few seconds; they are no news."""

    return Handler

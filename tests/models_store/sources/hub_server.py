"""The Hugging Face hub's side of a download, on loopback."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_COMMIT = "c" * 40


class _Hub(ThreadingHTTPServer):
    def __init__(self, repository: str, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repository = repository
        self.folder = folder


class _Handler(BaseHTTPRequestHandler):
    server: _Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        repository, folder = self.server.repository, self.server.folder
        path = self.path.partition("?")[0]
        name = path.removeprefix(f"/{repository}/resolve/{_COMMIT}/")
        if path == f"/api/models/{repository}/revision/main":
            self._send(json.dumps({"id": repository, "sha": _COMMIT}).encode())
        elif path == f"/api/models/{repository}/tree/{_COMMIT}":
            self._send(json.dumps(_tree(folder)).encode())
        elif name != path and (folder / name).is_file():
            self._send((folder / name).read_bytes())
        else:
            is_known = path.startswith(f"/api/models/{repository}/revision/")
            code = "RevisionNotFound" if is_known else "RepoNotFound"
            self._send(b"{}", 404, {"X-Error-Code": code})

    def _send(self, body: bytes, status: int = 200, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        facts = {
            "Content-Length": str(len(body)),
            "X-Repo-Commit": _COMMIT,
            "ETag": f'"{hashlib.sha1(body, usedforsecurity=False).hexdigest()}"',
        }
        for key, value in {**facts, **(more or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def serve_hub(repository: str, folder: Path) -> Iterator[str]:
    """Serve a folder as the only repository of a hub; the address of the hub."""
    server = _Hub(repository, folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _tree(folder: Path) -> list[dict[str, object]]:
    return [
        {
            "type": "file",
            "path": file.relative_to(folder).as_posix(),
            "size": file.stat().st_size,
            "oid": hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest(),
        }
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    ]

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from cli.doctor.findings import Verdict
from cli.doctor.remotes import check_remotes
from core.settings import RemoteSettings
from tests.workers.generation.openai_counterpart import KEY, Counterpart


@pytest.fixture
def counterpart():
    server = Counterpart()
    yield server
    server.close()


def remote(url, model="parrot", key=KEY):
    return RemoteSettings(url=url, model=model, api_key=SecretStr(key))


def test_without_remotes_there_is_nothing_to_say():
    assert check_remotes({}) == []


def test_a_server_that_knows_the_model_is_well(counterpart):
    (found,) = check_remotes({"coco": remote(counterpart.url)})
    assert (found.verdict, found.check) == (Verdict.OK, "remote model coco")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"key": "wrong"}, "answers 401"),
        ({"model": "owl"}, "knows no “owl”, but parrot"),
    ],
)
def test_what_a_server_has_against_it_is_said(counterpart, settings, said):
    (found,) = check_remotes({"coco": remote(counterpart.url, **settings)})
    assert (found.verdict, said in found.said) == (Verdict.FAILED, True), found


def test_a_server_that_is_away_is_named_without_its_password():
    (found,) = check_remotes({"coco": remote("http://me:geheim@127.0.0.1:9/v1")})
    assert found.verdict is Verdict.FAILED
    assert "http://me:***@127.0.0.1:9/v1 cannot be asked" in found.said


def test_a_client_that_is_missing_is_named_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    (found,) = check_remotes({"coco": remote("http://a/v1"), "jaco": remote("http://a/v1")})
    assert "coco, jaco cannot be asked" in found.said
    assert "perroquet[remote]" in found.fix


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("text/html", "<html>Welcome</html>", "does not answer as such a server does"),
        ("application/json", "[1]", "does not answer as such a server does"),
        ("application/json", '{"data": [{"id": null}, {"name": "x"}]}', "knows no “parrot”"),
    ],
)
def test_a_page_in_place_of_the_models_is_no_crash(kind, body, said):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        (found,) = check_remotes({"coco": remote(f"http://127.0.0.1:{server.server_port}")})
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (found.verdict, said in found.said) == (Verdict.FAILED, True), found

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace import StatusCode

from core.errors import SettingsError
from core.monitoring import tracing
from core.settings import TracingSettings


def test_a_trace_that_is_carried_goes_on_elsewhere(spans):
    with tracing.begin("here", guild_id=None, job_id="j"):
        carried = tracing.carried()
    assert tracing.carried() is None

    def elsewhere():
        with tracing.resume("there", carried), tracing.step("below"):
            tracing.mark("a moment")

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    by_name = {span.name: span for span in spans()}
    here, there, below = (by_name[name] for name in ("here", "there", "below"))
    assert {span.context.trace_id for span in spans()} == {here.context.trace_id}
    assert there.parent.span_id == here.context.span_id
    assert below.parent.span_id == there.context.span_id
    assert [event.name for event in below.events] == ["a moment"]
    assert dict(here.attributes) == {"job_id": "j"}


def test_what_belongs_to_no_trace_makes_no_span(spans):
    with tracing.step("alone"), tracing.resume("from nowhere", None):
        tracing.mark("nobody hears")
    assert spans() == ()
    with tracing.resume("from a damaged row", "not a traceparent"):
        pass
    assert [span.name for span in spans()] == ["from a damaged row"]


def test_an_error_is_named_and_not_quoted(spans):
    def fail():
        with tracing.begin("fails"):
            raise ValueError("what a member wrote")

    with pytest.raises(ValueError, match="member"):
        fail()
    (span,) = spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")
    assert "member" not in span.to_json()


class Collector(BaseHTTPRequestHandler):
    """Keeps what is sent to it."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Not on standard error."""


@pytest.fixture
def collector():
    server = HTTPServer(("127.0.0.1", 0), Collector)
    server.received = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_spans_reach_a_collector_by_otlp(collector):
    endpoint = f"http://127.0.0.1:{collector.server_port}/v1/traces"
    tracing.start_tracing(TracingSettings(endpoint=endpoint), "generate")
    with tracing.begin("message"):
        pass
    tracing.stop_tracing()
    ((path, body),) = collector.received
    assert path == "/v1/traces"
    (sent,) = ExportTraceServiceRequest.FromString(body).resource_spans
    facts = {a.key: a.value.string_value for a in sent.resource.attributes}
    assert facts["service.name"] == "perroquet-generate"
    assert [span.name for scope in sent.scope_spans for span in scope.spans] == ["message"]


def test_a_share_of_nothing_traces_nothing(collector):
    endpoint = f"http://127.0.0.1:{collector.server_port}/v1/traces"
    tracing.start_tracing(TracingSettings(endpoint=endpoint, share=0), "bot")
    with tracing.begin("message"):
        carried = tracing.carried()
        with tracing.resume("reply", carried):
            pass
    tracing.stop_tracing()
    assert collector.received == []


def test_without_the_libraries_the_start_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "core.monitoring.opentelemetry", None)
    with pytest.raises(SettingsError, match="otel"):
        tracing.start_tracing(TracingSettings(endpoint="http://localhost:1"), "bot")


def test_nothing_of_it_is_imported_while_it_is_off():
    program = """
import sys
# redis-py looks for OpenTelemetry's metrics by itself, where they are installed.
import redis, redis.asyncio, redis.observability.recorder
before = set(sys.modules)
import bot.app, bot.main, workers.main, workers.runner, workers.generation.answering
import workers.upkeep.loop
from core.monitoring.tracing import start_tracing, begin
from core.settings import Settings
start_tracing(Settings().tracing, "bot")
with begin("message"):
    found = [name for name in set(sys.modules) - before if "opentelemetry" in name]
assert found == [], found
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

import json

import pytest

from core.embedded import free_port
from core.errors import ServiceUnavailableError, SettingsError
from core.monitoring.figures import bot, jobs
from core.monitoring.server import MonitoringServer, redis_check
from core.settings import MonitoringSettings
from migrations.runner import migrate, require_schema
from tests.core.monitoring.scraping import get

DEAD_PORT = 9


@pytest.fixture
def serve():
    servers = []

    def start(port: int | None = None, **parts) -> int:
        settings = MonitoringSettings(port=free_port() if port is None else port)
        server = MonitoringServer(settings, **{"ready": {}, **parts})
        server.start()
        servers.append(server)
        return settings.port

    yield start
    for server in servers:
        server.close()


def away() -> None:
    raise ServiceUnavailableError("redis://:hush@host is away.", service="Redis")


def test_metrics_are_renewed_and_shown(serve):
    asked = []
    port = serve(before=lambda: asked.append(1))
    status, page = get(port, "/metrics")
    assert (status, asked) == (200, [1])
    assert f"# TYPE {bot.FIRST_TOKEN.describe()[0].name} histogram" in page
    assert "process_resident_memory_bytes" in page


def test_metrics_are_shown_though_they_cannot_be_renewed(serve):
    status, page = get(serve(before=away), "/metrics")
    assert (status, f"{jobs.LEASES_LOST.describe()[0].name}_total" in page) == (200, True)


def test_readiness_names_what_is_away_and_tells_no_address(serve):
    port = serve(ready={"database": lambda: None, "redis": away})
    status, page = get(port, "/readyz")
    assert status == 503
    assert json.loads(page) == {
        "status": "unavailable",
        "database": "ok",
        "redis": "ServiceUnavailableError",
    }
    assert get(port, "/healthz") == (200, '{"status": "ok"}')


def test_life_is_denied_where_its_check_fails(serve):
    port = serve(alive={"loop": away})
    assert get(port, "/healthz")[0] == 503
    assert get(port, "/readyz")[0] == 200


def test_other_paths_are_unknown_and_heads_have_no_body(serve):
    port = serve()
    assert get(port, "/secrets")[0] == 404
    assert get(port, "/readyz?probe=1")[0] == 200
    assert get(port, "/metrics", "HEAD") == (200, "")


def test_a_port_that_is_taken_is_a_setting_to_change(serve):
    taken = serve()
    with pytest.raises(SettingsError, match="PERROQUET_MONITORING__PORT"):
        serve(taken)


def test_port_0_listens_nowhere():
    server = MonitoringServer(MonitoringSettings(), ready={})
    server.start()
    server.close()
    assert server._server is None


def test_the_checks_ask_the_real_services(serve, any_engine, valkey):
    checks = {"database": lambda: require_schema(any_engine), "redis": redis_check(valkey.url)}
    assert get(serve(ready=checks), "/readyz")[0] == 200
    checks["redis"] = redis_check(f"redis://127.0.0.1:{DEAD_PORT}/0")
    status, page = get(serve(ready=checks), "/readyz")
    assert (status, json.loads(page)["redis"]) == (503, "ConnectionError")
    migrate(any_engine, "base")
    status, page = get(serve(ready=checks), "/readyz")
    assert (status, json.loads(page)["database"]) == (503, "SchemaOlderError")

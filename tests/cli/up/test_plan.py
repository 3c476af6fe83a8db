import socket

import pytest

from cli.up.plan import make_plan
from core.errors import SettingsError
from core.settings import load_settings

ALL = ("generate", "finetune", "upkeep", "bot", "playground")


@pytest.fixture
def planned(tmp_path, engine):
    def make(kinds=ALL, **variables):
        variables.setdefault("PERROQUET_DATA_DIR", str(tmp_path / "data"))
        variables.setdefault("PERROQUET_PLAYGROUND__PORT", "0")
        return make_plan(load_settings(variables, tmp_path / "none"), engine, kinds)

    return make


def by_name(plan):
    return {service.spec.name: service for service in plan.services}


def test_without_settings_everything_is_embedded(planned):
    plan = planned()
    assert set(by_name(plan)) == {"valkey", *ALL}
    assert plan.redis_url.startswith("redis://:")
    bot = by_name(plan)["bot"].spec.environment
    assert bot["REDIS_URL"] == plan.redis_url
    assert bot["PERROQUET_DISCORD__API_BASE"] == f"{plan.page_url}api/v10"
    assert bot["PERROQUET_DISCORD__GATEWAY_URL"].startswith("ws://127.0.0.1:")


def test_each_process_has_a_port_of_its_own_for_monitoring(planned):
    plan = planned(PERROQUET_MONITORING__PORT="9464")
    services = by_name(plan)
    key = "PERROQUET_MONITORING__PORT"
    ports = {kind: services[kind].spec.environment[key] for kind in ALL if kind != "playground"}
    assert ports == {"generate": "9464", "finetune": "9465", "upkeep": "9466", "bot": "9467"}
    assert plan.monitoring_ports == {kind: int(port) for kind, port in ports.items()}
    assert planned().monitoring_ports == {}


def test_a_redis_of_ones_own_is_used_and_none_is_started(planned):
    plan = planned(REDIS_URL="redis://elsewhere:6379/0")
    assert "valkey" not in by_name(plan)
    assert by_name(plan)["generate"].spec.environment["REDIS_URL"] == "redis://elsewhere:6379/0"


@pytest.mark.parametrize(
    "variable", ["DISCORD_TOKEN", "PERROQUET_DISCORD__TOKEN", "PERROQUET_Discord__Token"]
)
def test_the_token_goes_to_the_bot_alone(planned, monkeypatch, variable):
    monkeypatch.setenv(variable, "hush")
    plan = planned(**{variable: "hush"})
    assert plan.page_url is None
    for name, service in by_name(plan).items():
        assert ("hush" in service.spec.environment.values()) == (name == "bot")


def test_nor_is_anybody_else_told_where_the_token_lies(planned, monkeypatch, tmp_path):
    (tmp_path / "token").write_text("hush")
    for variable in ("DISCORD_TOKEN_FILE", "PERROQUET_DISCORD__TOKEN_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "token"))
    for name, service in by_name(planned(DISCORD_TOKEN_FILE=str(tmp_path / "token"))).items():
        told = str(tmp_path / "token") in service.spec.environment.values()
        assert told == (name == "bot")


def test_no_secret_stands_in_a_command_line(planned):
    plan = planned(DISCORD_TOKEN="hush")
    password = plan.redis_url.partition("://:")[2].partition("@")[0]
    assert len(password) > 20
    for service in plan.services:
        line = " ".join(service.spec.command)
        assert password not in line
        assert "hush" not in line


def test_servers_start_first_and_end_last_and_the_bot_ends_first(planned):
    services = by_name(planned())
    first = min(service.start_rank for service in services.values())
    assert {n for n, s in services.items() if s.start_rank == first} == {"valkey", "playground"}
    order = sorted(services, key=lambda name: services[name].stop_rank)
    assert (order[0], order[-2:]) == ("bot", ["playground", "valkey"])


def test_a_taken_port_is_named(planned):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(SettingsError, match=port):
            planned(PERROQUET_PLAYGROUND__PORT=port)

"""What ``perroquet up`` tells once everything runs."""

import io

import pytest

from cli.up.command import _announce
from cli.up.plan import make_plan
from cli.up.screen import Screen
from cli.up.supervisor import Supervisor
from core.settings import load_settings


@pytest.mark.parametrize("is_on", [True, False])
def test_ports_of_monitoring_are_told_where_it_is_on(engine, tmp_path, is_on):
    variables = {"PERROQUET_DATA_DIR": str(tmp_path), "PERROQUET_PLAYGROUND__PORT": "0"}
    if is_on:
        variables["PERROQUET_MONITORING__PORT"] = "9470"
    settings = load_settings(variables, tmp_path / "none")
    plan = make_plan(settings, engine, ("generate", "bot", "playground"))
    stream = io.StringIO()
    screen = Screen(stream)
    _announce(screen, settings, plan, Supervisor((), screen))
    line = "/metrics, /healthz and /readyz on 127.0.0.1: generate 9470, bot 9473"
    assert (line in stream.getvalue().splitlines()) == is_on
    assert ("/metrics" in stream.getvalue()) == is_on

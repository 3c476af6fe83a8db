"""The dashboard and the alert rules speak of figures that exist."""

import importlib
import json
import pkgutil
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from core.monitoring import figures

FOLDER = Path(__file__).parents[2] / "examples" / "monitoring"
NAME = re.compile(r"\b(?:perroquet|process)_\w+")


def alert_expressions() -> dict[str, str]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def panel_expressions() -> dict[str, str]:
    panels = json.loads((FOLDER / "grafana.json").read_text())["panels"]
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels
        for target in panel["targets"]
    }


def exposed() -> set[str]:
    """Every name that a scrape of any process may hold, from the families' types."""
    for part in pkgutil.iter_modules(figures.__path__):
        importlib.import_module(f"{figures.__name__}.{part.name}")
    names = set()
    for line in generate_latest().decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            names |= {name}
            if kind == "histogram":
                names |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    return names


@pytest.mark.parametrize("read", [alert_expressions, panel_expressions])
def test_every_figure_that_is_asked_for_is_exposed(read):
    known = exposed()
    expressions = read()
    assert len(expressions) >= 7
    for title, expression in expressions.items():
        missing = set(NAME.findall(expression)) - known
        assert not missing, f"{title}: {missing}"


def test_every_figure_of_ours_is_drawn_or_watched():
    text = " ".join([*alert_expressions().values(), *panel_expressions().values()])
    names = {n for n in exposed() if n.startswith("perroquet_")}
    roots = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
    assert {r for r in roots if r not in text} <= {
        "perroquet_job_seconds",
        "perroquet_jobs_held",
        "perroquet_training_steps_total",
    }


def test_every_alert_says_what_to_do():
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        assert rule["labels"]["severity"] in ("page", "warn")
        assert set(rule["annotations"]) == {"summary", "action"}

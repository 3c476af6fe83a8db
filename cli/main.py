"""The ``perroquet`` command. Heavy imports happen inside the commands that need them."""

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.finetune_command import finetune
from cli.generate_command import generate
from cli.lazy import LazyGroup
from core.errors import (
    InvalidInputError,
    NotFoundError,
    PerroquetError,
    ServiceUnavailableError,
    SettingsError,
)
from core.exits import INTERRUPTED, exit_code

# What is raised in place of an answer. Others tell of an outcome whose JSON was printed before.
_INSTEAD = (SettingsError, InvalidInputError, NotFoundError, ServiceUnavailableError)
_RUN, _WORK, _LOOK = "Run", "Models and conversations", "Look after it"

app = typer.Typer(
    name="perroquet",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Joins the lines of a paragraph, as the docstrings mean them.
    rich_markup_mode="markdown",
    help="A self-hosted Discord bot that a community talks with and teaches.\n\n"
    "Settings come from perroquet.toml and the environment; “perroquet config” shows those in "
    "force. Exit codes: 0 done, 1 it failed, 2 wrong usage or setting, 3 a service cannot be "
    "reached or used, 130 interrupted.",
)


class WorkerKind(StrEnum):
    """What a worker process does."""

    GENERATE = "generate"
    FINETUNE = "finetune"
    UPKEEP = "upkeep"


class BenchDatabase(StrEnum):
    """Where a benchmark keeps its rows."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class _ModelsGroup(LazyGroup):
    origin = "cli.models:models_app"


app.add_typer(
    typer.Typer(no_args_is_help=True, cls=_ModelsGroup),
    name="models",
    help="Add, list, verify and remove the models that answer.",
    rich_help_panel=_WORK,
)


class _JobsGroup(LazyGroup):
    origin = "cli.jobs:jobs_app"


app.add_typer(
    typer.Typer(no_args_is_help=True, cls=_JobsGroup),
    name="jobs",
    help="List, show, watch, cancel and retry jobs of every server.",
    rich_help_panel=_LOOK,
)


@app.command(rich_help_panel=_RUN)
def up() -> None:
    """Run everything on this machine until Ctrl-C: the bot, its workers, Valkey, the playground.

    Without DISCORD_TOKEN the bot speaks to the playground, a Discord on loopback with a page to
    chat in. DATABASE_URL, REDIS_URL and STORE_URL replace the embedded SQLite, Valkey and folder.
    """
    from cli.up.command import up as run

    run()


@app.command(rich_help_panel=_RUN)
def worker(
    kind: Annotated[
        WorkerKind, typer.Argument(help="What it does: answer, train, or the relay's upkeep.")
    ],
) -> None:
    """Run one worker process until SIGTERM, on this or another host.

    Needs the DATABASE_URL, REDIS_URL and STORE_URL that the bot has. Without them it joins the
    “perroquet up” that runs on the same data folder.
    """
    from cli.processes import run_worker

    run_worker(kind.value)


@app.command(rich_help_panel=_RUN)
def bot(
    shards: Annotated[
        str, typer.Option(metavar="0-3/16", help="The shards to hear, of how many.")
    ] = "",
) -> None:
    """Run the bot process alone, against Discord. Needs DISCORD_TOKEN and REDIS_URL.

    Without --shards it hears all servers, with as many shards as Discord recommends. Several
    processes share a large bot: together they take each shard once, and one of them shard 0.
    """
    from cli.processes import run_bot

    run_bot(shards)


@app.command(rich_help_panel=_RUN)
def playground() -> None:
    """Run the playground alone: a Discord on loopback with a page to chat in."""
    from cli.processes import run_playground

    run_playground()


@app.command(rich_help_panel=_WORK)
def chat(
    once: Annotated[
        str | None, typer.Option("--once", metavar="TEXT", help="Print one answer and end.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Forget the conversation so far.")] = False,
) -> None:
    """Talk with the model in the terminal. Joins what runs, or starts and stops what it needs.

    Where it joins a running “perroquet up” or worker, that one's settings hold: what this shell's
    environment says of device and sampling has no effect then.
    """
    from cli.chat.command import chat as run

    run(once, is_new=new)


app.command(rich_help_panel=_WORK)(generate)
app.command(rich_help_panel=_WORK)(finetune)


@app.command(rich_help_panel=_LOOK)
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check this installation, with a fix for each failure. Exit code 1 where anything failed."""
    from cli.doctor.command import doctor as run

    run(as_json=as_json)


@app.command(rich_help_panel=_LOOK)
def top(
    once: Annotated[bool, typer.Option("--once", help="Print one moment and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one moment as JSON.")] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Watch processes, queues and jobs of all hosts until Ctrl-C."""
    from cli.top import top as run

    run(once=once, as_json=as_json, every_seconds=every)


@app.command(rich_help_panel=_LOOK)
def migrate() -> None:
    """Bring the database to the newest schema."""
    from cli.wiring import open_migrated, read_settings
    from migrations.runner import current_revision

    with open_migrated(read_settings()) as engine:
        typer.echo(f"The database is at revision {current_revision(engine)}, the newest.")


@app.command(rich_help_panel=_LOOK)
def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder, on another disk best.")],
) -> None:
    """Save the database and every version that it names into a folder, while all runs.

    SQLite is copied by its online backup; PostgreSQL needs pg_dump of its server's version.
    """
    from cli.backup.command import backup as run

    run(folder)


@app.command(rich_help_panel=_LOOK)
def restore(
    folder: Annotated[Path, typer.Argument(help="What “perroquet backup” has written.")],
) -> None:
    """Fill an empty installation from a backup. Every file of it is proven first."""
    from cli.backup.command import restore as run

    run(folder)


@app.command(rich_help_panel=_LOOK)
def config(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print all settings there are, with their meaning.")
    ] = False,
) -> None:
    """Print the settings in force, with secrets masked."""
    from cli.wiring import read_settings
    from core.settings import describe_settings
    from core.settings_page import explain_settings

    if markdown:
        typer.echo(explain_settings(), nl=False)
        return
    for line in describe_settings(read_settings()):
        typer.echo(line)


@app.command(rich_help_panel=_LOOK)
def bench(
    name: Annotated[
        str | None, typer.Argument(help="Which benchmark; without one, all are named.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A short form, of a minute or two.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    files: Annotated[int | None, typer.Option(min=1, help="Of fuzz: how many files.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of fuzz and chaos: chooses what happens.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Of chaos: how long things go wrong.")
    ] = None,
    database: Annotated[
        BenchDatabase | None, typer.Option(help="Of chaos: where the rows are.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="Of chaos: keep what the processes say in this file.")
    ] = None,
) -> None:
    """Measure, next to the peers, in one run."""
    from cli.bench import benchmark_names, run_benchmark

    if name is None:
        typer.echo("\n".join(benchmark_names()))
        return
    run_benchmark(
        name,
        quick=quick,
        as_json=as_json,
        files=files,
        seed=seed,
        minutes=minutes,
        database=database,
        log=log,
    )


@app.command(rich_help_panel=_LOOK)
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as package_version

    typer.echo(f"perroquet {package_version('perroquet')}")


def main() -> None:
    """Run a command; foreseen errors become one line and an exit code."""
    # Progress bars of libraries would draw over our own, and in a log each step is a line.
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        app()
    except PerroquetError as exc:
        _end(exc)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _end(exc: PerroquetError) -> None:
    sys.stderr.write(f"{exc}\n")
    if "--json" in sys.argv[1:] and isinstance(exc, _INSTEAD):
        error = {"code": exc.code, "message": str(exc)}
        sys.stdout.write(json.dumps({"error": error}) + "\n")
    sys.exit(exit_code(exc))


if __name__ == "__main__":
    main()

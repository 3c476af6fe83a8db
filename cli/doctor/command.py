"""The composition of all checks, and how they are shown."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from cli.doctor.broker import check_redis
from cli.doctor.database import check_clock, check_database, open_existing
from cli.doctor.devices import check_kfd, check_torch, has_amd_gpu, has_nvidia_gpu, read_torch
from cli.doctor.discord import check_discord
from cli.doctor.findings import Finding, Verdict, failed
from cli.doctor.machine import check_disk, check_python
from cli.doctor.models import check_default_model
from cli.doctor.remotes import check_remotes
from cli.doctor.store import check_store
from cli.doctor.workers import check_shards, check_versions, check_workers
from cli.up.addresses import read_redis_url
from cli.wiring import open_store, read_settings
from core.catalog.registry import list_versions
from core.db.engines import make_engine, reading
from core.errors import ServiceUnavailableError, SettingsError
from core.jobs.finding import ALL_GUILDS
from core.jobs.presence import alive
from core.settings import Settings

_SIGNS = {
    Verdict.OK: Text("✓", style="green"),
    Verdict.WARNING: Text("!", style="yellow"),
    Verdict.FAILED: Text("✗", style="red"),
    Verdict.SKIPPED: Text("–", style="dim"),
}


def doctor(*, as_json: bool) -> None:
    """Check everything and print it; exit code 1 where anything failed.

    Raises:
        SettingsError: the settings themselves cannot be read.
    """
    findings = list(examine(read_settings()))
    is_healthy = all(finding.verdict is not Verdict.FAILED for finding in findings)
    if as_json:
        report = {"healthy": is_healthy, "checks": [asdict(finding) for finding in findings]}
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
    else:
        _draw(Console(), findings)
    if not is_healthy:
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Every check, one after the other; none of them changes anything that stays."""
    yield check_python()
    torch = read_torch()
    yield check_torch(
        torch,
        {
            "generation.device": settings.generation.device,
            "finetuning.device": settings.finetuning.device,
        },
        has_amd=has_amd_gpu(),
        has_nvidia=has_nvidia_gpu(),
    )
    yield check_kfd(torch.build if torch else "none")
    yield check_disk(settings.data_dir)
    yield from check_redis(settings.redis.url or read_redis_url(settings.data_dir))
    database = list(_examine_database(settings))
    yield from database
    is_used = database[0].verdict is Verdict.OK and _names_versions(settings.database_url)
    yield check_store(settings.store_url, is_used=is_used)
    yield from check_remotes(settings.generation.remotes)
    yield from check_discord(settings.discord_token, settings.discord.api_base)


def _examine_database(settings: Settings) -> Iterator[Finding]:
    try:
        engine = open_existing(settings.database_url)
    except SettingsError as exc:
        yield failed("database", str(exc), "Correct DATABASE_URL; unset, it is SQLite's file here.")
        return
    found = check_database(engine, settings.database_url)
    yield found
    if engine is None:
        yield from _examine_model(settings, None)
        return
    try:
        # What the tables say can only be asked where they are as they should be.
        if found.verdict is Verdict.OK:
            yield from _guarded(lambda: _examine_model(settings, engine), "default model")
            yield from _guarded(lambda: [check_clock(engine)], "clock")
            yield from _guarded(lambda: _examine_processes(engine), "processes")
    finally:
        engine.dispose()


def _names_versions(url: str) -> bool:
    engine = make_engine(url, pool_size=1)
    try:
        with Session(reading(engine)) as session:
            return bool(list_versions(session, ALL_GUILDS))
    except SQLAlchemyError:
        # It went away since it was checked; then nothing speaks against the store.
        return False
    finally:
        engine.dispose()


def _examine_model(settings: Settings, engine: Engine | None) -> list[Finding]:
    try:
        store = open_store(settings)
    except ServiceUnavailableError:
        # The check of the store says so.
        return []
    return [check_default_model(engine, store, settings.generation.model)]


def _examine_processes(engine: Engine) -> list[Finding]:
    with Session(reading(engine)) as session:
        processes = alive(session)
    shards = check_shards(processes)
    return [
        check_workers(processes),
        check_versions(processes, version("perroquet")),
        *([] if shards is None else [shards]),
    ]


def _guarded(check: Callable[[], list[Finding]], name: str) -> list[Finding]:
    """A database may go away between two questions."""
    try:
        return check()
    except SQLAlchemyError as exc:
        fix = "Look at the database's log, then run this again."
        return [failed(name, f"cannot be checked: {type(exc).__name__}", fix)]


def _draw(console: Console, findings: list[Finding]) -> None:
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        said = Text(finding.said)
        if finding.fix:
            said.append(f"\n→ {finding.fix}", style="bold")
        table.add_row(_SIGNS[finding.verdict], finding.check, said)
    console.print(table)

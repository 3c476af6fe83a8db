"""The ``perroquet up`` command: what a person sees of it."""

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from cli.models import ensure_default_model
from cli.up.lock import data_lock
from cli.up.plan import Plan, make_plan
from cli.up.supervisor import Supervisor, run_supervised
from cli.wiring import open_database, read_settings
from core.settings import Settings, redact_url

KINDS = ("generate", "finetune", "upkeep", "bot", "playground")


def up() -> None:
    """Run all of Perroquet on this machine until Ctrl-C.

    Without DISCORD_TOKEN the bot speaks to the playground, a Discord on loopback with a page to
    chat in. DATABASE_URL, REDIS_URL and STORE_URL replace the embedded SQLite, Valkey and folder.
    """
    settings = read_settings()
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(f"[dim]·[/dim] {line}")

    with data_lock(settings.data_dir), open_database(settings) as engine:
        say("The database is at the newest schema")
        ensure_default_model(settings, say)
        plan = make_plan(settings, KINDS)
        supervisor = Supervisor(settings, plan, engine, say)
        run_supervised(supervisor, lambda: _announce(console, settings, plan, supervisor))
        say("Everything has ended")


def _announce(console: Console, settings: Settings, plan: Plan, supervisor: Supervisor) -> None:
    table = Table("process", "id", "log", box=None, pad_edge=False)
    for child in supervisor.children:
        table.add_row(child.spec.name, str(child.process.pid), str(child.spec.log_file))
    console.print(table)
    console.print(f"database {redact_url(settings.database_url)} · store {settings.store_url}")
    if plan.page_url is None:
        console.print(Panel("The bot is in Discord. Ctrl-C ends everything.", expand=False))
    else:
        text = f"Open [bold]{plan.page_url}[/bold] and say hello. Ctrl-C ends everything."
        console.print(Panel(text, expand=False))

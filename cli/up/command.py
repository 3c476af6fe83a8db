"""The ``perroquet up`` command: what a person sees of it."""

from contextlib import ExitStack

from cli.model_adding import ensure_default_model
from cli.up.addresses import published_addresses, withdraw_addresses
from cli.up.lock import data_lock
from cli.up.plan import Plan, make_plan
from cli.up.readiness import check_redis_address, redis_answers
from cli.up.screen import Screen
from cli.up.supervisor import Supervisor, run_supervised
from cli.wiring import make_data_dir, open_migrated, read_settings
from core.settings import Settings, mask_url

KINDS = ("generate", "finetune", "upkeep", "bot", "playground")


def up() -> None:
    """Run all of Perroquet on this machine until Ctrl-C.

    Raises:
        PerroquetError: something that is needed is missing, taken or does not come up.
    """
    settings = read_settings()
    screen = Screen()
    make_data_dir(settings)
    with ExitStack() as stack:
        stack.enter_context(data_lock(settings.data_dir))
        withdraw_addresses(settings.data_dir)
        engine = stack.enter_context(open_migrated(settings))
        screen.say("The database is at the newest schema")
        ensure_default_model(settings, screen)
        _check_redis(settings, screen)
        plan = make_plan(settings, engine, KINDS)
        supervisor = Supervisor(plan.services, screen)

        def announce() -> None:
            stack.enter_context(published_addresses(settings.data_dir, plan.redis_url))
            _announce(screen, settings, plan, supervisor)

        run_supervised(supervisor, announce)
    screen.say("Everything has ended")


def _check_redis(settings: Settings, screen: Screen) -> None:
    """Say when a Redis of one's own is away: that delays answers, and loses none."""
    if not settings.redis.url:
        return
    check_redis_address(settings.redis.url)
    if not redis_answers(settings.redis.url):
        screen.say(
            f"Redis at {mask_url(settings.redis.url)} does not answer; messages are kept, and "
            "answered as soon as it does",
            style="yellow",
        )


def _announce(screen: Screen, settings: Settings, plan: Plan, supervisor: Supervisor) -> None:
    rows = [
        (child.spec.name, str(child.process.pid), str(child.spec.log_file))
        for child in supervisor.children
    ]
    screen.show_table(("process", "id", "log"), rows)
    screen.say(f"Database {mask_url(settings.database_url)}")
    screen.say(f"Models and corpora {mask_url(settings.store_url)}")
    if plan.monitoring_ports:
        ports = ", ".join(f"{kind} {port}" for kind, port in plan.monitoring_ports.items())
        screen.say(f"/metrics, /healthz and /readyz on {settings.monitoring.host}: {ports}")
    if plan.page_url is None:
        screen.show_box("The bot is in Discord. Ctrl-C ends everything.")
    else:
        screen.show_box(f"Open {plan.page_url} and say hello. Ctrl-C ends everything.")

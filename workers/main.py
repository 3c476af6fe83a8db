"""``python -m workers.main generate|finetune|upkeep``: one worker process."""

import os
import sys

from core.errors import PerroquetError
from core.exits import DONE, USAGE, exit_code
from core.logging import configure_logging
from core.monitoring.tracing import start_tracing, stop_tracing
from core.settings import Settings, load_settings
from migrations.runner import check_at_start


def run_worker(kind: str, settings: Settings) -> None:
    """Run a worker until SIGTERM. Imports only what its kind needs.

    Raises:
        SchemaNewerError, SchemaOlderError: the database has another schema than this worker needs.
    """
    check_at_start(settings.database_url)
    # OpenMP's threads spin while they wait. Where processes share cores, endless spinning made
    # answers 2.3 times slower than a short one (docs/log.md). It is read as PyTorch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    start_tracing(settings.tracing, kind)
    try:
        _run(kind, settings)
    finally:
        stop_tracing()


def _run(kind: str, settings: Settings) -> None:
    if kind == "generate":
        from workers.generation.tasks import run_generation_worker

        run_generation_worker(settings)
    elif kind == "finetune":
        from workers.finetuning.tasks import run_finetuning_worker

        run_finetuning_worker(settings)
    else:
        from workers.upkeep.loop import run_upkeep

        run_upkeep(settings)


def main() -> int:
    """Read the kind from the command line and the settings from the environment."""
    kinds = ("generate", "finetune", "upkeep")
    if len(sys.argv) != 2 or sys.argv[1] not in kinds:
        sys.stderr.write(f"usage: python -m workers.main {'|'.join(kinds)}\n")
        return USAGE
    try:
        settings = load_settings(os.environ)
        configure_logging(settings.log, process=sys.argv[1])
        run_worker(sys.argv[1], settings)
    except PerroquetError as exc:
        sys.stderr.write(f"{exc}\n")
        return exit_code(exc)
    return DONE


if __name__ == "__main__":
    sys.exit(main())

"""The fine-tuning worker: composition, and the hand-over from Celery."""

import threading

from core.jobs.states import JobKind
from core.settings import Settings
from core.transport.courier import make_celery
from models_store.store import ModelStore
from workers.celery_worker import consume
from workers.chores import Chore, start_later
from workers.finetuning.cards import likely_device
from workers.finetuning.running import Finetuner
from workers.folders import RUNS, SWEEP_INTERVAL_SECONDS, sweep_folders
from workers.process import build_process
from workers.runner import JobRunner


def run_finetuning_worker(settings: Settings) -> None:
    """Train until SIGTERM."""
    process = build_process(settings, JobKind.FINETUNE)
    store = ModelStore(settings.store_url, settings.cache_dir, settings.store.cache_max_bytes)
    finetuner = Finetuner(
        process.desk,
        store,
        settings.data_dir,
        settings.finetuning,
        settings.chat.persona,
        settings.store.patience_seconds,
        settings.ledger.drain_seconds,
    )
    runner = JobRunner(
        process.desk,
        process.keeper,
        isolate_after_crashes=settings.ledger.isolate_after_crashes,
        work=finetuner.finetune,
        ended=lambda _claim: None,
    )

    def sweep() -> None:
        sweep_folders(process.engine, settings.data_dir / RUNS)

    ended = threading.Event()
    rounds = start_later({"folders": [Chore("folders", SWEEP_INTERVAL_SECONDS, sweep)]}, ended)

    def begin_drain() -> None:
        ended.set()
        runner.drain()
        process.drain(at_once=True)

    process.keeper.info["device"] = likely_device(settings.finetuning.device)
    courier = make_celery(settings)
    # A hint that waits here while a run lasts hours would be kept from a host that is free.
    courier.conf.worker_disable_prefetch = True
    process.start()
    for round_ in rounds:
        round_.start()
    try:
        consume(
            courier,
            JobKind.FINETUNE,
            threads=1,
            # A run outlives any visibility timeout; the relay sends again what is lost.
            acks_late=False,
            run=runner.run,
            begin_drain=begin_drain,
        )
    finally:
        ended.set()
        for round_ in rounds:
            round_.join()
        process.close()

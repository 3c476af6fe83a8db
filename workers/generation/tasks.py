"""The generation worker: composition, and the hand-over from Celery."""

from collections.abc import Callable

from core.conversations.answers import Weights
from core.jobs.states import JobKind
from core.settings import Settings
from core.transport.courier import make_celery
from models_store.store import ModelStore
from workers.celery_worker import consume
from workers.generation.answering import Answerer
from workers.generation.responder import load_responder
from workers.generation.serving import ModelPool, Responder
from workers.process import build_process
from workers.runner import JobRunner


def run_generation_worker(
    settings: Settings, load: Callable[[Weights], Responder] | None = None
) -> None:
    """Answer until SIGTERM.

    Args:
        settings: the installation's.
        load: makes a responder of a version's store path; by default from the model store.
    """
    process = build_process(settings, JobKind.GENERATE)
    pool = ModelPool(load or _store_loader(settings), settings.generation.max_loaded_models)
    answerer = Answerer(process.desk, pool, process.streams, settings.generation, settings.chat)
    runner = JobRunner(
        process.desk,
        process.keeper,
        isolate_after_crashes=settings.ledger.isolate_after_crashes,
        brief=answerer.brief,
        work=answerer.answer,
        ended=answerer.announce_end,
    )

    def begin_drain() -> None:
        runner.drain()
        process.drain()

    process.start()
    try:
        consume(
            make_celery(settings),
            JobKind.GENERATE,
            threads=settings.generation.threads,
            acks_late=True,
            run=runner.run,
            begin_drain=begin_drain,
        )
    finally:
        pool.close()
        process.close()


def _store_loader(settings: Settings) -> Callable[[Weights], Responder]:
    store = ModelStore(settings.store_url, settings.cache_dir, settings.store.cache_max_bytes)

    def load(weights: Weights) -> Responder:
        folder = store.fetch(weights.store_path)
        base = store.fetch(weights.base_path) if weights.base_path else None
        return load_responder(folder, base, settings.generation, settings.chat)

    return load

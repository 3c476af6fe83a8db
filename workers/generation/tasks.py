"""The generation worker: composition, and the hand-over from Celery."""

import importlib.util
import os
import signal
import threading
import time
from collections.abc import Callable

import structlog
import torch
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from transformers.utils.logging import disable_progress_bar

from core.catalog.resolution import resolve_version
from core.conversations.answers import find_weights
from core.conversations.utterances import Weights
from core.errors import PerroquetError, SettingsError
from core.jobs.states import JobKind
from core.monitoring.figures.generation import BATCH_SIZE, BATCH_WAITING, CACHE_TOKENS
from core.settings import RemoteSettings, Settings
from core.transport.courier import make_celery
from models_store.store import ModelStore
from workers.celery_worker import consume
from workers.generation.answering import Answerer
from workers.generation.errors import ModelUnreadableError
from workers.generation.hardware import describe_device
from workers.generation.loading import choose_device
from workers.generation.model_size import weight_bytes
from workers.generation.remote import RemoteResponder
from workers.generation.responder import load_responder
from workers.generation.serving import ModelPool, Responder
from workers.generation.speed import SpeedMeter
from workers.process import WorkerProcess, build_process
from workers.runner import JobRunner

log = structlog.get_logger(__name__)


def run_generation_worker(
    settings: Settings, load: Callable[[Weights], Responder] | None = None
) -> None:
    """Answer until SIGTERM.

    Args:
        settings: the installation's.
        load: makes a responder of a version's store path; by default from the model store.

    Raises:
        SettingsError: the device is not there; or a model is to answer from a server, and what asks
            it is not installed.
    """
    device = _device_of(settings)
    if settings.generation.remotes and importlib.util.find_spec("openai") is None:
        names = ", ".join(settings.generation.remotes)
        raise SettingsError(
            f"generation.remotes names {names}, and what asks such servers is not installed: "
            "pip install 'perroquet[remote]'.",
            key="generation.remotes",
        )
    # Bars are for terminals; a log says once that a model is loaded.
    disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers'
    store = ModelStore(settings.store_url, settings.cache_dir, settings.store.cache_max_bytes)
    pool = ModelPool(
        load or _store_loader(settings, store),
        settings.generation.max_loaded_models,
        settings.generation.models_max_bytes,
        _measure(settings, store),
    )
    process = build_process(settings, JobKind.GENERATE, lambda _engine: _renew_figures(pool))
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

    process.keeper.info["slots"] = settings.generation.max_batch_size
    speed = SpeedMeter(time.monotonic)
    process.keeper.observe = lambda: {
        **describe_device(device),
        "models": pool.describe(),
        "tokens_per_second": speed.read(answerer.generated_tokens),
    }
    process.start()
    threading.Thread(target=_warm_up, args=(process, pool), name="warm-up", daemon=True).start()
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


def _device_of(settings: Settings) -> torch.device:
    try:
        return choose_device(settings.generation.device)
    except ModelUnreadableError as exc:
        raise SettingsError(str(exc), key="generation.device") from exc


def _renew_figures(pool: ModelPool) -> None:
    for figure in (BATCH_SIZE, BATCH_WAITING, CACHE_TOKENS):
        # A model that was let go has no figures any more.
        figure.clear()
    for model, facts in pool.describe().items():
        BATCH_SIZE.labels(model).set(float(facts.get("running", 0)))
        BATCH_WAITING.labels(model).set(float(facts.get("waiting", 0)))
        CACHE_TOKENS.labels(model).set(float(facts.get("cache_tokens", 0)))


def _warm_up(process: WorkerProcess, pool: ModelPool) -> None:
    """Load the default model before somebody waits for it; whoever asks meanwhile shares it."""
    model = process.settings.generation.model

    def find(session: Session) -> Weights | None:
        return find_weights(session, resolve_version(session, None, None, model))

    try:
        weights = process.desk.hand_in(find).result()
        if weights is not None:
            with pool.using(weights):
                pass
    except (PerroquetError, SQLAlchemyError) as exc:
        # Whoever asks for it will be told; this was only to be early.
        log.warning("warm_up_failed", model=model, error=str(exc))


def _store_loader(settings: Settings, store: ModelStore) -> Callable[[Weights], Responder]:
    def load(weights: Weights) -> Responder:
        remote = _remote_of(weights, settings)
        if remote is not None:
            return RemoteResponder(remote, weights.operator_model or "", settings.chat.persona)
        folder = store.fetch(weights.store_path, weights.manifest_sha256)
        return load_responder(folder, settings.generation, settings.chat, store.fetch, _end_process)

    return load


def _measure(settings: Settings, store: ModelStore) -> Callable[[Weights], int]:
    def measure(weights: Weights) -> int:
        if _remote_of(weights, settings) is not None:
            return 0
        folder = store.fetch(weights.store_path, weights.manifest_sha256)
        return weight_bytes(folder, settings.generation.device, settings.generation.dtype)

    return measure


def _remote_of(weights: Weights, settings: Settings) -> RemoteSettings | None:
    """The server that answers for a model; never for one that only has the same name."""
    return settings.generation.remotes.get(weights.operator_model or "")


def _end_process(exc: Exception) -> None:
    """End a process whose device is broken, so that its supervisor starts it anew."""
    log.error("device_lost", error=type(exc).__name__)
    os.kill(os.getpid(), signal.SIGTERM)

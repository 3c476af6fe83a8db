"""The upkeep process: relay, reaper, retention at their intervals, and the reading of uploads."""

import threading

import redis
import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from core.conversations.forgetting import purge_expired
from core.corpora.submissions import conclude_validations
from core.corpora.uploads import Uploads
from core.errors import ServiceUnavailableError
from core.jobs.outbox import reap, shorten_leases
from core.jobs.presence import forget_silent
from core.jobs.states import JobKind
from core.monitoring.figures.upkeep import REAPED
from core.settings import Settings
from core.transport.courier import make_celery, make_publishing_celery
from models_store.store import ModelStore
from workers.celery_worker import consume
from workers.chores import Chore, start_later
from workers.folders import SWEEP_INTERVAL_SECONDS, VALIDATIONS, sweep_folders
from workers.process import WorkerProcess, build_process
from workers.runner import JobRunner
from workers.upkeep.garbage import collect_once
from workers.upkeep.queue_figures import renew_queue_figures
from workers.upkeep.relay import Relay
from workers.validation.validating import Validator, ValidatorParts

log = structlog.get_logger(__name__)

_RETENTION_INTERVAL_SECONDS = 600.0
_GARBAGE_INTERVAL_SECONDS = 3600.0
_SILENT_SECONDS = 3600.0


def run_upkeep(settings: Settings) -> None:
    """Run the chores, and read uploads as they come, until SIGTERM or SIGINT."""
    process = build_process(settings, "upkeep", renew_queue_figures)
    client = redis.Redis.from_url(settings.redis.url, socket_timeout=2, socket_connect_timeout=2)
    relay = Relay(
        process.engine,
        make_publishing_celery(settings),
        client,
        settings.redis.key_prefix,
        settings.ledger,
    )
    uploads = Uploads(settings.store_url)
    store = ModelStore(settings.store_url, settings.cache_dir, settings.store.cache_max_bytes)
    runner = _build_validation(settings, process, store, uploads)
    ended = threading.Event()
    rounds = start_later(_rounds(settings, process.engine, relay, store, uploads), ended)

    def begin_drain() -> None:
        ended.set()
        runner.drain()
        process.drain(at_once=True)

    process.start()
    for round_ in rounds:
        round_.start()
    try:
        consume(
            make_celery(settings),
            JobKind.VALIDATE,
            threads=1,
            # A large corpus may outlive the visibility timeout; the relay sends again what is lost.
            acks_late=False,
            run=runner.run,
            begin_drain=begin_drain,
        )
    finally:
        ended.set()
        for round_ in rounds:
            round_.join()
        process.close()
        client.close()


def _build_validation(
    settings: Settings, process: WorkerProcess, store: ModelStore, uploads: Uploads
) -> JobRunner:
    validator = Validator(
        ValidatorParts(
            process.desk,
            store,
            uploads,
            settings.data_dir.resolve() / VALIDATIONS,
            settings.chat.persona,
            patience_seconds=settings.store.patience_seconds,
        )
    )
    return JobRunner(
        process.desk,
        process.keeper,
        isolate_after_crashes=settings.ledger.isolate_after_crashes,
        work=validator.validate,
        ended=lambda _claim: None,
    )


def reap_once(engine: Engine, max_crashes: int, lease_seconds: float) -> None:
    """End the leases that have run out."""
    with Session(engine) as session, session.begin():
        shortened = shorten_leases(session, lease_seconds)
        reaped = reap(session, max_crashes=max_crashes)
    if shortened:
        log.warning("leases_shortened", count=len(shortened))
    for outcome, job_ids in (
        ("requeued", reaped.requeued),
        ("failed", reaped.failed),
        ("cancelled", reaped.cancelled),
    ):
        REAPED.labels(outcome).inc(len(job_ids))
        for job_id in job_ids:
            log.warning("lease_expired", job_id=job_id, outcome=outcome)


def retain_once(engine: Engine, messages_days: float, jobs_days: float) -> None:
    """Delete what is past its retention, and the rows of processes long silent."""
    with Session(engine) as session, session.begin():
        count = purge_expired(session, messages_days=messages_days, jobs_days=jobs_days)
        forget_silent(session, silent_seconds=_SILENT_SECONDS)
    if count:
        log.info("retention_deleted", count=count)


def conclude_once(engine: Engine, uploads: Uploads) -> None:
    """End the fine-tunes whose corpus was refused, and delete what was uploaded for them."""
    with Session(engine) as session, session.begin():
        corpus_ids = conclude_validations(session)
    for corpus_id in corpus_ids:
        try:
            uploads.remove(corpus_id)
        except ServiceUnavailableError as exc:
            log.warning("upload_not_removed", corpus=corpus_id, error=str(exc))


def _rounds(
    settings: Settings, engine: Engine, relay: Relay, store: ModelStore, uploads: Uploads
) -> dict[str, list[Chore]]:
    """The chores of each thread. What touches the store may take minutes, and jobs cannot wait."""
    ledger, retention = settings.ledger, settings.retention

    def reap_leases() -> None:
        reap_once(engine, ledger.max_crashes, ledger.lease_seconds)

    def conclude() -> None:
        conclude_once(engine, uploads)

    def retain() -> None:
        retain_once(engine, retention.messages_days, retention.jobs_days)

    def collect() -> None:
        collect_once(engine, store)

    def sweep() -> None:
        sweep_folders(engine, settings.data_dir / VALIDATIONS)

    return {
        "ledger": [
            Chore("relay", ledger.relay_interval_seconds, relay.run_once),
            Chore("reaper", ledger.reap_interval_seconds, reap_leases),
        ],
        "validations": [Chore("validations", ledger.relay_interval_seconds, conclude)],
        "housekeeping": [
            Chore("retention", _RETENTION_INTERVAL_SECONDS, retain),
            Chore("garbage", _GARBAGE_INTERVAL_SECONDS, collect),
            Chore("folders", SWEEP_INTERVAL_SECONDS, sweep),
        ],
    }

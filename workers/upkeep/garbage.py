"""Deleting from the store what this installation's database knows to be dead, and nothing else."""

import time
from collections.abc import Collection, Iterator, Mapping

import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from core.catalog.disposal import dead_paths, kept_paths
from core.corpora.expiry import forget_corpora, spent_corpora
from core.corpora.uploads import UPLOADS
from core.db.engines import reading
from core.errors import ServiceUnavailableError, StoreError
from models_store.paths import parents_of
from models_store.store import ModelStore

log = structlog.get_logger(__name__)

# Longer than any upload or publication takes: what is younger may still be on its way to a row.
_SURELY_DEAD_SECONDS = 86_400.0
# An upload that no row knows was interrupted, or waits for another installation of this store.
_FORGOTTEN_UPLOAD_SECONDS = 30 * 86_400.0
# So many paths are named in a line of the log.
_TOLD = 20


def collect_once(engine: Engine, store: ModelStore) -> None:
    """Delete retired versions, corpora that nobody can use any more, and what interrupted work
    left.

    Versions that this database does not know are left where they are, and named in the log.

    Raises:
        SQLAlchemyError: the database cannot be reached.
    """
    try:
        _drop_corpora(engine, store)
        stock = store.take_stock(_SURELY_DEAD_SECONDS)
        parents = {parent for name in stock.leftovers for parent in parents_of(name)}
        with Session(reading(engine)) as session:
            kept = kept_paths(session)
            dead = dead_paths(session, {*stock.versions, *parents})
        leftovers = list(_deletable(stock.leftovers, kept, dead))
        store.delete_leftovers(leftovers)
        retired = len(_retire(store, sorted(dead.intersection(stock.versions))))
    except ServiceUnavailableError as exc:
        log.warning("garbage_not_collected", error=str(exc))
        return
    if leftovers or retired:
        log.info("garbage_collected", files=len(leftovers), versions=retired)
    unknown = [path for path in stock.versions if path not in kept and path not in dead]
    if unknown:
        log.info("unknown_versions_left", count=len(unknown), paths=unknown[:_TOLD])


def _drop_corpora(engine: Engine, store: ModelStore) -> None:
    """Delete spent corpora: the row after the files, so that none is left which no row knows."""
    with Session(reading(engine)) as session:
        spent = spent_corpora(session)
    # One that was never read has no version; its upload goes with the leftovers.
    versions = [path for path in spent.values() if not path.startswith(f"{UPLOADS}/")]
    kept = set(versions) - _retire(store, versions)
    gone = [corpus_id for corpus_id, path in spent.items() if path not in kept]
    if gone:
        with Session(engine) as session, session.begin():
            forget_corpora(session, gone)
        log.info("corpora_deleted", count=len(gone))


def _deletable(
    leftovers: Mapping[str, float], kept: Collection[str], dead: Collection[str]
) -> Iterator[str]:
    """The files of no version that nobody can be waiting for."""
    forgotten = time.time() - _FORGOTTEN_UPLOAD_SECONDS
    for name, written_at in leftovers.items():
        above = parents_of(name)
        if any(path in kept for path in above):
            continue
        is_upload = above[-1:] == [UPLOADS]
        if not is_upload or written_at < forgotten or any(path in dead for path in above):
            yield name


def _retire(store: ModelStore, paths: Collection[str]) -> set[str]:
    """Retire versions and say which; one that cannot be is no reason to keep the others."""
    retired = set()
    for path in paths:
        try:
            store.retire(path)
            retired.add(path)
        except StoreError as exc:
            log.warning("version_not_retired", path=path, error=str(exc))
    return retired

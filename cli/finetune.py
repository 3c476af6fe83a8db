"""``perroquet finetune``: the same jobs and workers as in Discord, from a shell."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from sqlalchemy.orm import Session

from cli.finetune_watching import watch_job
from cli.wiring import open_database, open_store, read_settings
from core.catalog.finding import find_version
from core.catalog.registry import list_versions
from core.catalog.resolution import resolve_version
from core.corpora.searches import SEARCH, NothingToJudgeByError, SearchSpec
from core.db.clock import epoch_now
from core.db.tables import Corpus
from core.errors import InvalidInputError, WrongUsageError
from core.ids import new_id
from core.jobs.ledger import NewJob, submit
from core.jobs.states import JobKind
from core.settings import Settings
from models_store.store import ModelStore
from workers.finetuning.corpus.files import CorpusFile
from workers.finetuning.corpus.preparing import prepare_corpus
from workers.finetuning.corpus.report import CorpusReport

_OPERATOR = 0
_FRESH, _LATEST = "fresh", "latest"


@dataclass(frozen=True)
class FinetuneOrder:
    """What is asked of ``perroquet finetune``.

    Attributes:
        files: of the corpus.
        name: of the new model.
        base: of the model to start from; None is the default one.
        restore: ``fresh``, ``latest``, or the version to go on from.
        options: of the run.
        search: among options, where one is wanted.
    """

    files: tuple[Path, ...]
    name: str
    base: str | None
    restore: str
    options: dict[str, Any]
    search: SearchSpec | None


def submit_and_watch(order: FinetuneOrder, *, watch: bool, picture: Path | None) -> None:
    """Take a corpus in, submit the job, and follow it.

    Raises:
        WrongUsageError: the options contradict each other.
        InvalidInputError, NotFoundError: there is no such base or version.
        CorpusError: a file cannot be used.
        NothingToJudgeByError: a search, and no document to judge its trials by.
        FinetuneFailedError: it was followed, and ended without a version.
    """
    if order.base is not None and order.restore != _FRESH:
        raise WrongUsageError("--restore names what to start from, so --base has no place.")
    if picture is not None and not watch:
        raise WrongUsageError("--picture needs --watch: the curve is drawn at the end.")
    settings = read_settings()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as scratch, open_database(settings) as engine:
        folder = Path(scratch) / "corpus"
        with Session(engine) as session:
            origin = _find_origin(session, settings, order)
        with console.status("Reading the corpus …"):
            files = [CorpusFile(file, file.name) for file in order.files]
            report = prepare_corpus(files, folder)
        _print_report(console, report)
        if order.search is not None and not report.splits["validation"].documents:
            raise NothingToJudgeByError
        with Session(engine) as session, session.begin():
            job_id = _submit(session, open_store(settings), folder, report, origin, order)
        sys.stdout.write(job_id + "\n")
        sys.stdout.flush()
        if watch:
            watch_job(engine, console, job_id, picture)


@dataclass(frozen=True)
class _Origin:
    version_id: str
    name: str


def _find_origin(session: Session, settings: Settings, order: FinetuneOrder) -> _Origin:
    if order.restore != _FRESH:
        wanted = order.name if order.restore == _LATEST else order.restore
        found = find_version(session, None, wanted)
        return _Origin(found.version_id, found.model)
    name = order.base or settings.generation.model
    version_id = resolve_version(session, None, None, name)
    if version_id is None:
        known = ", ".join(sorted({entry.model for entry in list_versions(session)})) or "none"
        raise InvalidInputError(f"There is no base model “{name}”; there are: {known}.", model=name)
    return _Origin(version_id, name)


def _submit(
    session: Session,
    store: ModelStore,
    folder: Path,
    report: CorpusReport,
    origin: _Origin,
    order: FinetuneOrder,
) -> str:
    corpus_id = new_id()
    publication = store.publish(folder, f"corpora/{corpus_id}", {"files": report.files})
    session.add(
        Corpus(
            id=corpus_id,
            uploader_id=_OPERATOR,
            name=order.name,
            store_path=publication.path,
            sha256=report.sha256,
            total_bytes=publication.total_bytes,
            report=report.to_json(),
            rights_declared_at=epoch_now(),
        )
    )
    payload = {
        "corpus_path": publication.path,
        "corpus_manifest_sha256": publication.manifest_sha256,
        "base_version_id": origin.version_id,
        "base_name": origin.name,
        "model": order.name,
        "options": order.options,
    }
    if order.search is not None:
        payload[SEARCH] = order.search.to_json()
    # The relay sends the hint, so this works while nothing else runs.
    return submit(session, NewJob(JobKind.FINETUNE, _OPERATOR, payload))


def _print_report(console: Console, report: CorpusReport) -> None:
    languages = ", ".join(f"{code} {share:.0%}" for code, share in report.languages.items())
    console.print(
        f"{report.documents} documents, {report.examples} examples, {report.characters:,} "
        f"characters; {languages or 'language unknown'}; dropped {report.exact_duplicates} "
        f"duplicates and {report.near_duplicates} near-duplicates; masked {report.masked or 0}"
    )
    for warning in report.warnings:
        console.print(f"[yellow]Warning: {_WARNINGS[warning]}[/yellow]")


_WARNINGS = {
    "little-text": "there is less than a megabyte of text; the model learns its tone and little "
    "more.",
    "one-speaker": "only one person speaks; the model learns to talk like them, not to answer.",
    "other-language": "the text is in another language than the base knows best.",
    "no-validation": "there is too little to hold some back, so nobody can tell whether the model "
    "got better.",
    "few-validation": "there are few documents to judge by, so which state is the best is partly "
    "up to chance.",
    "over-long": "many examples are longer than the model can see at once; their beginnings are "
    "left out.",
}

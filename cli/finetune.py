"""``perroquet finetune``: the same jobs and workers as in Discord, from a shell."""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from sqlalchemy import select
from sqlalchemy.orm import Session

from cli.wiring import open_database, open_store, read_settings
from core.catalog.registry import list_versions
from core.catalog.resolution import resolve_version
from core.db.clock import epoch_now
from core.db.tables import Corpus, Job
from core.errors import InvalidInputError, PerroquetError
from core.ids import new_id
from core.jobs.ledger import NewJob, submit
from core.jobs.states import JobKind, JobState
from core.settings import Settings
from models_store.store import ModelStore
from workers.finetuning.corpus.files import CorpusFile
from workers.finetuning.corpus.preparing import prepare_corpus
from workers.finetuning.corpus.report import CorpusReport

_OPERATOR = 0
_POLL_SECONDS = 1.0


class FinetuneFailedError(PerroquetError):
    """The job ended without a version; the message is the worker's."""

    code = "training-failed"


def finetune(
    files: Sequence[Path], *, name: str, base: str | None, options: dict[str, Any], watch: bool
) -> None:
    """Take a corpus in, submit the job, and follow it."""
    settings = read_settings()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as scratch, open_database(settings) as engine:
        folder = Path(scratch) / "corpus"
        with console.status("Reading the corpus …"):
            report = prepare_corpus([CorpusFile(file, file.name) for file in files], folder)
        _print_report(console, report)
        with Session(engine) as session, session.begin():
            store = open_store(settings)
            job_id = _submit(session, settings, store, folder, report, name, base, options)
        sys.stdout.write(job_id + "\n")
        if watch:
            _watch(engine, console, job_id)


def _submit(
    session: Session,
    settings: Settings,
    store: ModelStore,
    folder: Path,
    report: CorpusReport,
    name: str,
    base: str | None,
    options: dict[str, Any],
) -> str:
    base_name = base or settings.generation.model
    version_id = resolve_version(session, None, None, base_name)
    if version_id is None:
        known = ", ".join(sorted({entry.model for entry in list_versions(session)})) or "none"
        raise InvalidInputError(
            f"There is no base model “{base_name}”; there are: {known}.", model=base_name
        )
    corpus_id = new_id()
    publication = store.publish(folder, f"corpora/{corpus_id}", {"files": report.files})
    session.add(
        Corpus(
            id=corpus_id,
            uploader_id=_OPERATOR,
            name=name,
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
        "base_version_id": version_id,
        "base_name": base_name,
        "model": name,
        "options": options,
    }
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
        console.print(f"[yellow]Warning: {warning}[/yellow]")


def _watch(engine: Any, console: Console, job_id: str) -> None:
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("waiting for the worker", total=None)
        while True:
            with Session(engine) as session:
                row = session.execute(
                    select(Job.state, Job.result, Job.error).where(Job.id == job_id)
                ).one()
            if JobState(row.state).is_final:
                break
            progress = (row.result or {}).get("progress")
            if progress:
                loss = f"loss {progress['loss']:.3f}"
                bar.update(
                    task, description=loss, total=progress["steps"], completed=progress["step"]
                )
            time.sleep(_POLL_SECONDS)
    if row.state != JobState.SUCCEEDED:
        raise FinetuneFailedError(row.error or f"The job was {row.state}.")
    console.print(row.result["metrics"])

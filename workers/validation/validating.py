"""The work of a ``validate`` job: bring the upload, prepare it in a child process, publish it."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from core.conversations.utterances import Weights
from core.corpora.submissions import PreparedCorpus, Validation, accept_corpus, load_validation
from core.corpora.uploads import Uploads
from core.db.desk import Desk
from core.errors import PerroquetError
from models_store.store import ModelStore, Publication
from workers.bare_environment import bare_environment
from workers.leases import HeldJob
from workers.patience import await_service, retire_unless_known
from workers.runner import OutcomeUnknownError, write_within_lease
from workers.validation.child import CORPUS, REQUEST, RESULT

log = structlog.get_logger(__name__)

_POLL_SECONDS = 0.5
_LOG_FILE = "child.log"


class ValidationFailedError(PerroquetError):
    """The corpus was refused. ``code`` and ``data`` are those of what was found wrong."""

    code = "validation-failed"


class ValidationDiedError(PerroquetError):
    """The process that read the corpus ended without a word; perhaps memory ran out."""

    code = "validation-died"


class ValidationTimeoutError(PerroquetError):
    """Reading the corpus took longer than any corpus of its size should."""

    code = "validation-timeout"


@dataclass(frozen=True)
class ValidatorParts:
    """What validations share.

    Attributes:
        desk: for the ledger.
        store: where bases are and prepared corpora go.
        uploads: where the raw files are.
        scratch: a folder of this host.
        persona: the system turn of the runs that follow.
        timeout_seconds: how long one corpus may take.
        patience_seconds: how long a job waits for a store that is away or full.
    """

    desk: Desk
    store: ModelStore
    uploads: Uploads
    scratch: Path
    persona: str
    timeout_seconds: float = 3600.0
    patience_seconds: float = 0.0


class Validator:
    """Runs claimed ``validate`` jobs, each in a child process."""

    def __init__(self, parts: ValidatorParts) -> None:
        self._parts = parts

    def validate(self, held: HeldJob) -> None:
        """Prepare one corpus and publish it, or say why not.

        Raises:
            ValidationFailedError: the corpus cannot be used; ``code`` says why.
            ValidationDiedError, ValidationTimeoutError: it was too much for this host.
            UploadLostError: the upload is gone.
            StoreError, ServiceUnavailableError: the base cannot be had, or nothing be published.
            LeaseLostError, CancelledJobError, DrainedError: the job must stop.
        """
        parts = self._parts
        work = parts.desk.hand_in(lambda session: load_validation(session, held.claim)).result()
        with _scratch_folder(parts.scratch / held.claim.job_id) as folder:
            files = self._bring(held, work, folder)
            base = await_service(
                held,
                lambda: self._fetch_base(work.base),
                parts.patience_seconds,
            )
            request = {
                "files": files,
                "base": str(base),
                "options": {"persona": parts.persona, **work.options},
                "search": work.search,
                "validation_share": work.validation_share,
            }
            (folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")
            found = self._run_child(held, folder)
            self._publish(held, work, folder, found)
        parts.uploads.remove(work.corpus_id)

    def _bring(self, held: HeldJob, work: Validation, folder: Path) -> list[dict[str, Any]]:
        brought: list[dict[str, Any]] = []
        for number, file in enumerate(work.files):
            held.check()
            target = folder / f"upload-{number}"
            await_service(
                held,
                partial(self._parts.uploads.bring, work.corpus_id, number, file, target),
                self._parts.patience_seconds,
            )
            brought.append(
                {"path": str(target), "name": file.name, "is_validation": file.is_validation}
            )
        return brought

    def _fetch_base(self, base: Weights) -> Path:
        """The whole model: an adapter that is to learn on has its tokenizer and its window."""
        store = self._parts.store
        if base.base_path is not None:
            return store.fetch(base.base_path, base.base_manifest_sha256)
        return store.fetch(base.store_path, base.manifest_sha256)

    def _run_child(self, held: HeldJob, folder: Path) -> dict[str, Any]:
        with (folder / _LOG_FILE).open("wb") as log_file:
            child = subprocess.Popen(  # noqa: S603 (our own module, in our own interpreter)
                [sys.executable, "-m", "workers.validation.child", str(folder)],
                stdin=subprocess.PIPE,
                stdout=log_file,
                stderr=log_file,
                env=bare_environment(os.environ),
            )
        try:
            self._await(held, child)
        finally:
            child.kill()
            child.wait()
            if child.stdin is not None:
                child.stdin.close()
        result = folder / RESULT
        if not result.exists():
            tail = (folder / _LOG_FILE).read_bytes()[-1000:].decode("utf-8", "replace")
            log.warning("validation_died", exit_code=child.returncode)
            # What it said last may quote what it read.
            log.debug("validation_died", log_tail=tail)
            raise ValidationDiedError("The process that read the corpus was lost.")
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        if "error" in found:
            raise _refusal(found["error"])
        return found

    def _await(self, held: HeldJob, child: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + self._parts.timeout_seconds
        while True:
            held.check()
            if time.monotonic() > deadline:
                raise ValidationTimeoutError("Reading the corpus took too long.")
            try:
                child.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            return

    def _publish(
        self, held: HeldJob, work: Validation, folder: Path, found: dict[str, Any]
    ) -> None:
        """Publish the corpus, then let its fine-tune know, under the fence."""
        store = self._parts.store
        # The token keeps two attempts apart; the loser's folder is retired below.
        path = f"corpora/{work.corpus_id}-{held.claim.token}"
        report = found["report"]

        def publish() -> Publication:
            store.retire(path)
            return store.publish(folder / CORPUS, path, {"files": report["files"]})

        publication = await_service(held, publish, self._parts.patience_seconds)
        prepared = PreparedCorpus(
            path,
            publication.manifest_sha256,
            report["sha256"],
            publication.total_bytes,
            report,
            found["plan"],
        )
        awaited: list[bool] = []
        try:
            write_within_lease(
                self._parts.desk,
                held,
                lambda session: awaited.append(accept_corpus(session, held.claim, prepared)),
            )
        except OutcomeUnknownError:
            # A row may name it by now; if none does, it is collected later.
            raise
        except PerroquetError:
            retire_unless_known(self._parts.desk, store, path)
            raise
        if not awaited[-1]:
            store.retire(path)


@contextmanager
def _scratch_folder(folder: Path) -> Iterator[Path]:
    """An empty folder that goes in the end; what a killed predecessor left goes first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refusal(error: dict[str, Any]) -> ValidationFailedError:
    refused = ValidationFailedError(error["message"], **error["data"])
    refused.code = error["code"]  # type: ignore[misc]  # the child's own code
    return refused

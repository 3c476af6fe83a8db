"""From a command to rows: names checked, files taken in, both jobs written, the hint sent."""

import asyncio
import re
import unicodedata
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.finetune.downloading import Attached, AttachmentDownloader, UploadTooLargeError
from core.catalog.bases import Base, find_base, is_shared_name
from core.conversations.places import Place
from core.corpora.searches import SearchSpec
from core.corpora.submissions import (
    NewFinetune,
    Submitted,
    count_open,
    is_corpus_known,
    submit_finetune,
)
from core.corpora.uploads import UploadedFile, Uploads
from core.db.desk import Desk
from core.errors import InvalidInputError, NotFoundError, ServiceUnavailableError
from core.ids import new_id
from core.jobs.outbox import Hint
from core.jobs.states import JobKind
from core.monitoring.tracing import begin, carried
from core.sharding import Share
from core.transport.publisher import Publisher

log = structlog.get_logger(__name__)

_NAME_LENGTH = 40
_FILE_NAME_LENGTH = 100
# Each may hold an upload of the largest size, so those that nobody starts must not fill the store.
_MOST_OPEN = 5


class ModelNameError(InvalidInputError):
    """No model can be called so; ``data["name"]`` is what was given."""

    code = "model-name"


class ModelNameTakenError(InvalidInputError):
    """One of the operator's models has this name."""

    code = "model-name-taken"


class TooManyOpenError(InvalidInputError):
    """The server has ``data["limit"]`` fine-tunes that are not ended."""

    code = "too-many-open"


class NoBaseError(InvalidInputError):
    """There is no such base model; ``data["model"]`` is what was given."""

    code = "no-base"


@dataclass(frozen=True)
class FinetuneRequest:
    """What an admin asks for; the rights are declared.

    Attributes:
        place: where it was asked, and where it is shown.
        requester_id: who asked.
        name: of the new model, as it was typed.
        base: the name of a base model; None for the installation's default.
        options: of the run.
        attached: the files.
        validation_share: of the documents, to be held back; None for the usual share.
        search: of the best options, where one is wanted instead of a single run.
    """

    place: Place
    requester_id: int
    name: str
    base: str | None
    options: dict[str, Any]
    attached: tuple[Attached, ...]
    validation_share: float | None = None
    search: SearchSpec | None = None


class FinetuneIntake:
    """Takes fine-tunes in."""

    def __init__(
        self,
        desk: Desk,
        publisher: Publisher,
        uploads: Uploads,
        downloader: AttachmentDownloader,
        *,
        max_bytes: int,
        default_base: str,
        share: Share,
    ) -> None:
        self._desk = desk
        self._publisher = publisher
        self._uploads = uploads
        self._downloader = downloader
        self._max_bytes = max_bytes
        self._default_base = default_base
        self._share = share

    async def take(self, request: FinetuneRequest) -> str:
        """Take the files in and owe the fine-tune.

        Returns:
            The fine-tune's id.

        Raises:
            ModelNameError, ModelNameTakenError, NoBaseError, TooManyOpenError: nothing was
                downloaded.
            UploadForeignError, UploadGoneError, UploadTooLargeError: nothing is kept.
            ServiceUnavailableError: Discord or the store cannot be reached.
            SQLAlchemyError: the database cannot be reached.
        """
        with begin("fine-tune", guild_id=request.place.guild_id):
            return await self._take(request)

    async def _take(self, request: FinetuneRequest) -> str:
        model = slug(request.name)
        base = await self._desk.read(lambda session: self._check(session, request, model))
        if sum(file.declared_bytes for file in request.attached) > self._max_bytes:
            raise UploadTooLargeError(self._max_bytes)
        corpus_id = new_id()
        try:
            files = await self._download(corpus_id, request.attached)
            submitted = await self._submit(request, model, base, corpus_id, files)
        except BaseException:
            await asyncio.shield(self._discard_unless_known(corpus_id))
            raise
        self._publisher.publish(Hint(submitted.validation_id, JobKind.VALIDATE, 0, carried()))
        log.info(
            "finetune_taken_in",
            job_id=submitted.job_id,
            guild_id=request.place.guild_id,
            validation_id=submitted.validation_id,
            files=len(files),
        )
        return submitted.job_id

    async def discard(self, corpus_id: str) -> None:
        """Delete an upload that nobody needs. A store that is away is only noted."""
        try:
            await asyncio.to_thread(self._uploads.remove, corpus_id)
        except ServiceUnavailableError as exc:
            log.warning("upload_not_removed", corpus=corpus_id, error=str(exc))

    async def _discard_unless_known(self, corpus_id: str) -> None:
        """Delete an upload whose rows could not be written, or were not waited for.

        They may stand after all: the connection was lost at the commit, or the wait was cancelled
        while they were written. So it is asked for after them, where writes are done in order.
        What cannot be asked now is collected as garbage later.
        """
        try:
            is_known = await self._desk.write(lambda session: is_corpus_known(session, corpus_id))
        except (ServiceUnavailableError, SQLAlchemyError) as exc:
            log.warning("upload_left_to_collect", corpus=corpus_id, error=type(exc).__name__)
            return
        if not is_known:
            await self.discard(corpus_id)

    def _check(self, session: Session, request: FinetuneRequest, model: str) -> Base:
        if count_open(session, request.place.guild_id) >= _MOST_OPEN:
            raise TooManyOpenError("Too many fine-tunes are not ended.", limit=_MOST_OPEN)
        if is_shared_name(session, model):
            raise ModelNameTakenError(f"“{model}” is one of the operator's models.", name=model)
        name = request.base or self._default_base
        try:
            return find_base(session, request.place.guild_id, name)
        except NotFoundError as exc:
            raise NoBaseError(f"There is no base model “{name}”.", model=name) from exc

    async def _download(
        self, corpus_id: str, attached: tuple[Attached, ...]
    ) -> tuple[UploadedFile, ...]:
        left, files = self._max_bytes, []
        for number, file in enumerate(attached):
            open_writer = partial(self._uploads.open, corpus_id, number)
            try:
                writer = await self._downloader.download(file, open_writer, left)
            except UploadTooLargeError as exc:
                # The bound holds for all files together.
                raise UploadTooLargeError(self._max_bytes) from exc
            finish = partial(writer.finish, _printable(file.name), is_validation=file.is_validation)
            files.append(await asyncio.to_thread(finish))
            left -= writer.total_bytes
        return tuple(files)

    async def _submit(
        self,
        request: FinetuneRequest,
        model: str,
        base: Base,
        corpus_id: str,
        files: tuple[UploadedFile, ...],
    ) -> Submitted:
        new = NewFinetune(
            place=request.place,
            requester_id=request.requester_id,
            model=model,
            base_version_id=base.version_id,
            base_name=base.model,
            options=request.options,
            corpus_id=corpus_id,
            files=files,
            process_name=self._share.name_for(request.place.guild_id),
            locale=request.place.locale,
            validation_share=request.validation_share,
            search=request.search,
        )
        return await self._desk.write(lambda session: submit_finetune(session, new))


def slug(name: str) -> str:
    """A name as models are called: a to z, 0 to 9, dot, dash and underscore.

    Raises:
        ModelNameError: nothing is left of it.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    found = re.sub(r"[^a-z0-9._]+", "-", plain)[:_NAME_LENGTH].strip("-._")
    if not found:
        raise ModelNameError("The name holds no letter from a to z.", name=name[:_NAME_LENGTH])
    return found


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in name)[-_FILE_NAME_LENGTH:]

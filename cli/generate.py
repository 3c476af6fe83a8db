"""``perroquet generate``: texts through the same jobs and workers as answers."""

import json
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from sqlalchemy import select
from sqlalchemy.orm import Session

from cli.chat.printing import check_utf8, printable
from cli.chat.running import Running, running
from cli.up.screen import Screen
from cli.wiring import read_settings
from core.catalog.finding import find_version, guilds_with
from core.catalog.resolution import resolve_version
from core.conversations.texts import NewText, submit_text
from core.db.desk import Desk
from core.db.tables import Job
from core.errors import NotFoundError, PerroquetError, ServiceUnavailableError, WrongUsageError
from core.jobs.ledger import request_cancel
from core.jobs.outbox import Hint
from core.jobs.states import JobKind, JobState
from core.transport.courier import make_publishing_celery
from core.transport.publisher import Publisher

_POLL_SECONDS = 0.1
_MOST_NAMED = 5
_FINITE = ("temperature", "top_p", "repetition_penalty")


class TextFailedError(PerroquetError):
    """A text could not be made; the message is the worker's."""

    code = "text-failed"


@dataclass(frozen=True)
class TextOrder:
    """What is asked of ``perroquet generate``.

    Attributes:
        prefix: how each text begins.
        model: a model's or version's name; None is the model that answers.
        guild: the server whose models are meant, before the operator's; None is the operator.
        samples: how many texts.
        batch: how many at the same time at most.
        sampling: by the engine's names.
        seed: of the first text, the next one of each further text; None draws anew.
    """

    prefix: str
    model: str | None
    samples: int
    batch: int
    sampling: dict[str, Any]
    seed: int | None
    guild: int | None = None


@dataclass(frozen=True)
class Layout:
    """How texts are written: one after the other, or as an object a line.

    Attributes:
        before: what is written before each text.
        delimiter: a line between two of them; between objects there is none.
        is_json: whether each text is an object, with the figures of its making.
    """

    before: str
    delimiter: str
    is_json: bool = False

    @property
    def between(self) -> str:
        """What separates two texts."""
        return "\n" if self.is_json else f"\n{self.delimiter}\n"

    def write(self, result: dict[str, Any]) -> str:
        """A text's job's result, as it is shown."""
        text = self.before + result["text"]
        return json.dumps({**result, "text": text}, ensure_ascii=False) if self.is_json else text


def write_texts(order: TextOrder, layout: Layout, to: Path | None) -> None:
    """Make the texts and print them in order, or put all of them into a file.

    Args:
        order: what is asked.
        layout: how they are written.
        to: a file that appears once it is whole; None prints each text as it is done.

    Raises:
        WrongUsageError: the lengths contradict each other, or a value is none.
        NotFoundError: there is no such model.
        TextFailedError: a text could not be made; those that wait are cancelled.
        ServiceUnavailableError: something that is needed does not come up.
    """
    for said in (order.prefix, *order.sampling["stop"]):
        check_utf8(said)
    infinite = [name for name in _FINITE if not math.isfinite(order.sampling[name])]
    if infinite:
        option = infinite[0].replace("_", "-")
        raise WrongUsageError(f"--{option} must be a number that is finite.")
    if order.sampling["min_new_tokens"] > order.sampling["max_new_tokens"]:
        raise WrongUsageError("--min-length is above --length.")
    if to is not None and not to.absolute().parent.is_dir():
        raise WrongUsageError(f"There is no folder for {to}.")
    if "logprobs" in order.sampling and not layout.is_json:
        raise WrongUsageError("--logprobs needs --json, which has a place for them.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    between = layout.between
    with running(read_settings(), Screen()) as found:
        texts = map(layout.write, _watched(_results(found, order), order.samples))
        if to is not None:
            _write_file(to, between.join(texts) + "\n")
            return
        for number, text in enumerate(texts):
            # A file gets the text as it is; a terminal must not be steered by it.
            sys.stdout.write((between if number else "") + printable(text))
            sys.stdout.flush()
        sys.stdout.write("\n")


def _watched(results: Iterator[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """Say on a terminal what is waited for, and of each text whether all of its prefix was read."""
    console = Console(stderr=True)
    for number in range(1, count + 1):
        with console.status(f"Writing text {number} of {count} … Ctrl-C cancels."):
            result = next(results)
        if unread := result.get("unread_tokens"):
            console.print(
                f"The prefix is longer than what the model sees: its first {unread:,} tokens were "
                "not read.",
                style="yellow",
            )
        yield result


def _write_file(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _results(found: Running, order: TextOrder) -> Iterator[dict[str, Any]]:
    with _open_writing(found, order) as writing:
        yield from writing.results()


@contextmanager
def _open_writing(found: Running, order: TextOrder) -> Iterator["_Writing"]:
    with Session(found.engine) as session:
        version_id = _find_version(session, found, order)
    desk = Desk(found.engine)
    publisher = Publisher(make_publishing_celery(found.settings), desk)
    desk.start()
    publisher.start()
    writing = _Writing(found, desk, publisher, order, version_id)
    try:
        yield writing
    finally:
        writing.cancel()
        publisher.close()
        desk.close()


def _find_version(session: Session, found: Running, order: TextOrder) -> str:
    if order.model is not None:
        try:
            return find_version(session, order.guild, order.model).version_id
        except NotFoundError as exc:
            _point_to_servers(session, order.model, exc)
            raise
    default = found.settings.generation.model
    version_id = resolve_version(session, order.guild, None, default)
    if version_id is None:
        raise NotFoundError(f"There is no model “{default}”.", model=default)
    return version_id


def _point_to_servers(session: Session, model: str, exc: NotFoundError) -> None:
    """Name the servers that have the model, where the one that was asked has not.

    Raises:
        NotFoundError: there are such servers.
    """
    guilds = guilds_with(session, model)
    if guilds:
        options = " or ".join(f"--guild {guild}" for guild in guilds[:_MOST_NAMED])
        raise NotFoundError(f"{exc} A server has one of its own: name it with {options}.") from exc


def _submit(new: NewText, session: Session) -> str:
    return submit_text(session, new)


def _cancel(job_id: str, session: Session) -> None:
    request_cancel(session, job_id)


@dataclass
class _Writing:
    """Texts on their way: so many jobs at a time, their results in order."""

    found: Running
    desk: Desk
    publisher: Publisher
    order: TextOrder
    version_id: str
    _job_ids: list[str] = field(default_factory=list)
    # The result of each job that is done; nothing of one that failed.
    _done: dict[str, dict[str, Any]] = field(default_factory=dict)

    def results(self) -> Iterator[dict[str, Any]]:
        """Those of all jobs, in order."""
        for number in range(self.order.samples):
            while number >= len(self._job_ids) or self._job_ids[number] not in self._done:
                self._submit()
                self._look()
            yield self._done[self._job_ids[number]]

    def cancel(self) -> None:
        """Nobody waits any more for what is not done."""
        for job_id in self._under_way():
            self.desk.hand_in(partial(_cancel, job_id)).result()

    def _under_way(self) -> list[str]:
        return [job_id for job_id in self._job_ids if job_id not in self._done]

    def _submit(self) -> None:
        room = self.order.batch - len(self._under_way())
        for _ in range(min(room, self.order.samples - len(self._job_ids))):
            sampling = dict(self.order.sampling)
            if self.order.seed is not None:
                sampling["seed"] = self.order.seed + len(self._job_ids)
            new = NewText(self.order.prefix, self.version_id, sampling)
            job_id = self.desk.hand_in(partial(_submit, new)).result()
            self.publisher.publish(Hint(job_id, JobKind.GENERATE, 0))
            self._job_ids.append(job_id)

    def _look(self) -> None:
        wanted = self._under_way()
        with Session(self.found.engine) as session:
            rows = session.execute(
                select(Job.id, Job.state, Job.result, Job.error).where(Job.id.in_(wanted))
            ).all()
        for row in rows:
            if row.state == JobState.SUCCEEDED:
                self._done[row.id] = row.result
            elif JobState(row.state).is_final:
                self._done[row.id] = {}
                raise TextFailedError(row.error or "The text was cancelled.")
        failure = self.found.find_failure()
        if failure is not None:
            raise ServiceUnavailableError(failure, service="generate")
        if len(self._under_way()) == len(wanted):
            time.sleep(_POLL_SECONDS)

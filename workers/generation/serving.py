"""Which models this process holds, loaded on demand and let go when others are asked for."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog

from core.conversations.utterances import Utterance, Weights
from workers.generation.protocol import GenerationStream, Sampling, Standing

log = structlog.get_logger(__name__)

# A model that is wanted and finds no room waits so long for one that is idle by chance; then the
# one that was used least recently takes no new questions until it is let go.
_PATIENCE_SECONDS = 5.0
# Who waits looks so often whether it is to wait still.
_CHECK_SECONDS = 0.25


@dataclass(frozen=True)
class Ask:
    """One answer that is wanted, to the last of ``utterances``.

    Attributes:
        request_id: for logs.
        utterances: the conversation, oldest first.
        sampling: how words are chosen.
        weights: who answers: the responder's model itself, or an adapter over it.
        standing: where the request stands among others.
    """

    request_id: str
    utterances: tuple[Utterance, ...]
    sampling: Sampling
    weights: Weights
    standing: Standing


class Responder(Protocol):
    """A model that answers conversations, itself or through adapters: prompt in, text out."""

    def ask(self, ask: Ask) -> GenerationStream:
        """Begin an answer.

        Raises:
            InvalidInputError: the sampling is out of range, or the question too long.
            StoreError: the adapter is missing or damaged.
            ModelUnreadableError: it is whole but cannot be served.
        """
        ...

    def describe(self) -> dict[str, str | int]:
        """Device, dtype and the like, for people."""
        ...

    @property
    def is_alive(self) -> bool:
        """Whether it answers still; one that broke down never does again."""
        ...

    @property
    def holds_weights(self) -> bool:
        """Whether it takes this machine's memory; a server elsewhere does not."""
        ...

    def close(self) -> None:
        """Free what it holds; answers under way end with an error."""
        ...


@dataclass
class _Slot:
    responder: Responder
    bytes: int
    users: int = 0
    # Takes no new questions for as long as another model waits for its room.
    is_leaving: bool = False
    is_closed: bool = False

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.responder.close()


@dataclass(eq=False)
class _Ticket:
    """A wish for room. Its patience begins with its turn."""

    patience_ends: float = 0.0


def _go_on() -> None:
    """Nothing asks who waits to stop."""


def _no_size(_weights: Weights) -> int:
    return 0


def engine_of(weights: Weights) -> Weights:
    """What must be loaded for a version: itself, or the base that it is an adapter of."""
    if weights.base_path is None:
        return weights
    return Weights(
        weights.base_path,
        None,
        weights.base_manifest_sha256,
        operator_model=weights.operator_model,
    )


class ModelPool:
    """Keeps up to ``max_loaded`` models loaded, the least recently used one leaves first.

    Servers elsewhere hold no weights: they neither count nor leave.
    Versions that are adapters share their base's place. A model is loaded once however many threads
    ask for it, and is never unloaded while it answers. Where all are busy, the pool holds more
    models than its bound until one is done; the bytes of their weights never exceed ``max_bytes``,
    unless a model that is larger is alone: who asks for one that does not fit waits, and in the end
    the one that was used least recently takes no new questions until it has left. One that broke
    down is loaded anew for whoever asks next.
    """

    def __init__(
        self,
        load: Callable[[Weights], Responder],
        max_loaded: int,
        max_bytes: int = 0,
        size_of: Callable[[Weights], int] = _no_size,
    ) -> None:
        """Args:
        load: makes a responder of a version.
        max_loaded: models.
        max_bytes: of all weights together; 0 is no bound.
        size_of: the bytes that a version's weights take once loaded.
        """
        self._load = load
        self._max_loaded = max_loaded
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._slots: OrderedDict[Weights, _Slot] = OrderedDict()
        self._loading_bytes = 0
        self._lock = threading.Condition()
        # Who waits for room has it before whoever asks for room later.
        self._tickets: list[_Ticket] = []
        self._entering: set[Weights] = set()

    @contextmanager
    def using(self, weights: Weights, check: Callable[[], None] = _go_on) -> Iterator[Responder]:
        """Who answers for a version, kept loaded for as long as the context lasts.

        Args:
            weights: the version.
            check: called while it waits and before it loads; what it raises ends the wait.

        Raises:
            StoreError: the version is missing or damaged.
            ModelUnreadableError: it is whole but cannot be loaded.
        """
        engine = engine_of(weights)
        slot = self._enter(engine, check)
        try:
            yield slot.responder
        finally:
            with self._lock:
                slot.users -= 1
                is_forgotten = not slot.users and self._slots.get(engine) is not slot
                self._lock.notify_all()
            if is_forgotten:
                # It broke down, or the pool was closed meanwhile; nobody else will free it.
                slot.close()
            self._evict()

    def describe(self) -> dict[str, dict[str, str | int]]:
        """What is loaded, by store path."""
        with self._lock:
            return {w.store_path: slot.responder.describe() for w, slot in self._slots.items()}

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            slots = list(self._slots.values())
            self._slots.clear()
        for slot in slots:
            slot.close()

    def _enter(self, weights: Weights, check: Callable[[], None]) -> _Slot:
        with self._lock:
            while True:
                slot = self._find(weights)
                if slot is not None and not slot.is_leaving:
                    return self._take(weights, slot)
                if slot is None and weights not in self._entering:
                    self._entering.add(weights)
                    break
                self._wait(check)
        try:
            return self._bring(weights, check)
        finally:
            with self._lock:
                self._entering.remove(weights)
                self._lock.notify_all()

    def _bring(self, weights: Weights, check: Callable[[], None]) -> _Slot:
        size = self._size_of(weights) if self._max_bytes else 0
        if size:
            self._make_room(size, check)
        try:
            check()
            started = time.monotonic()
            log.info("model_loading", version=weights.store_path)
            slot = _Slot(self._load(weights), size)
            seconds = round(time.monotonic() - started, 2)
            facts = slot.responder.describe()
            log.info("model_loaded", version=weights.store_path, seconds=seconds, **facts)
            with self._lock:
                self._slots[weights] = slot
                return self._take(weights, slot)
        finally:
            with self._lock:
                self._loading_bytes -= size
                self._lock.notify_all()

    def _make_room(self, size: int, check: Callable[[], None]) -> None:
        """Wait until the weights fit, and reserve their bytes."""
        ticket = _Ticket()
        with self._lock:
            self._tickets.append(ticket)
        try:
            while not self._reserve(size, ticket, check):
                pass
        finally:
            with self._lock:
                if self._tickets[0] is ticket:
                    # Whoever was to leave and is still here may stay.
                    for slot in self._slots.values():
                        slot.is_leaving = False
                self._tickets.remove(ticket)
                self._lock.notify_all()

    def _reserve(self, size: int, ticket: _Ticket, check: Callable[[], None]) -> bool:
        """Reserve the bytes if it is the ticket's turn and there is room; else see to it."""
        with self._lock:
            if self._tickets[0] is not ticket:
                self._wait(check)
                return False
            ticket.patience_ends = ticket.patience_ends or time.monotonic() + _PATIENCE_SECONDS
            leaving = self._idle_beyond(self._max_bytes - size)
            held = self._loading_bytes + sum(slot.bytes for slot in self._slots.values())
            if not leaving and (not held or held + size <= self._max_bytes):
                self._loading_bytes += size
                return True
            if not leaving:
                if time.monotonic() > ticket.patience_ends:
                    oldest = next((slot for slot in self._slots.values() if slot.bytes), None)
                    if oldest is not None:
                        oldest.is_leaving = True
                self._wait(check)
        self._unload(leaving)
        return False

    def _idle_beyond(self, max_bytes: int) -> list[tuple[Weights, _Slot]]:
        """Take idle models out, the least recently used first, until the rest has so few bytes."""
        surplus = self._loading_bytes - max_bytes
        surplus += sum(slot.bytes for slot in self._slots.values())
        leaving = []
        for weights, slot in list(self._slots.items()):
            if slot.users == 0 and slot.bytes and surplus > 0:
                surplus -= slot.bytes
                leaving.append((weights, self._slots.pop(weights)))
        return leaving

    def _wait(self, check: Callable[[], None]) -> None:
        self._lock.wait(min(_CHECK_SECONDS, _PATIENCE_SECONDS))
        check()

    def _find(self, weights: Weights) -> _Slot | None:
        slot = self._slots.get(weights)
        if slot is None or slot.responder.is_alive:
            return slot
        log.error("model_broke_down", version=weights.store_path)
        # Its thread has ended and its weights go with the last of its users.
        del self._slots[weights]
        return None

    def _take(self, weights: Weights, slot: _Slot) -> _Slot:
        slot.users += 1
        self._slots.move_to_end(weights)
        return slot

    def _evict(self) -> None:
        with self._lock:
            loaded = {w: s for w, s in self._slots.items() if s.responder.holds_weights}
            idle = [w for w, slot in loaded.items() if slot.users == 0]
            surplus = idle[: max(0, len(loaded) - self._max_loaded)]
            leaving = [(w, self._slots.pop(w)) for w in surplus]
        self._unload(leaving)

    def _unload(self, leaving: list[tuple[Weights, _Slot]]) -> None:
        for weights, slot in leaving:
            log.info("model_unloaded", version=weights.store_path)
            slot.close()

"""Which models this process holds, loaded on demand and let go when others are asked for."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from core.conversations.answers import Utterance, Weights
from workers.generation.protocol import GenerationStream, Sampling

log = structlog.get_logger(__name__)


class Responder(Protocol):
    """A loaded model that answers conversations: prompt in, text out."""

    def ask(
        self, request_id: str, utterances: tuple[Utterance, ...], sampling: Sampling
    ) -> GenerationStream:
        """Begin an answer to the last utterance.

        Raises:
            InvalidInputError: the sampling is out of range.
        """
        ...

    def describe(self) -> dict[str, str | int]:
        """Device, dtype and the like, for people."""
        ...

    @property
    def is_alive(self) -> bool:
        """Whether it answers still; one that broke down never does again."""
        ...

    def close(self) -> None:
        """Free what it holds; answers under way end with an error."""
        ...


@dataclass
class _Slot:
    responder: Responder
    users: int = 0


@dataclass
class _Loading:
    lock: threading.Lock = field(default_factory=threading.Lock)
    wanted: int = 0


class ModelPool:
    """Keeps up to ``max_loaded`` models loaded, the least recently used one leaves first.

    A model is loaded once however many threads ask for it, and is never unloaded while it answers:
    where all are busy, the pool holds more than its bound until one is done. One that broke down is
    loaded anew for whoever asks next.
    """

    def __init__(self, load: Callable[[Weights], Responder], max_loaded: int) -> None:
        self._load = load
        self._max_loaded = max_loaded
        self._slots: OrderedDict[Weights, _Slot] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: dict[Weights, _Loading] = {}

    @contextmanager
    def using(self, weights: Weights) -> Iterator[Responder]:
        """The loaded model of a version, kept for as long as the context lasts.

        Raises:
            StoreError: the version is missing or damaged.
            ModelUnreadableError: it is whole but cannot be loaded.
        """
        slot = self._enter(weights)
        try:
            yield slot.responder
        finally:
            with self._lock:
                slot.users -= 1
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
            slot.responder.close()

    def _enter(self, weights: Weights) -> _Slot:
        with self._being_loaded(weights):
            with self._lock:
                slot = self._find(weights)
                if slot is not None:
                    return self._take(weights, slot)
            log.info("model_loading", version=weights.store_path)
            slot = _Slot(self._load(weights))
            log.info("model_loaded", version=weights.store_path, **slot.responder.describe())
            with self._lock:
                self._slots[weights] = slot
                return self._take(weights, slot)

    @contextmanager
    def _being_loaded(self, weights: Weights) -> Iterator[None]:
        """Keep others from loading the same; the lock goes with the last who wants it."""
        with self._lock:
            loading = self._loading.setdefault(weights, _Loading())
            loading.wanted += 1
        try:
            with loading.lock:
                yield
        finally:
            with self._lock:
                loading.wanted -= 1
                if not loading.wanted:
                    del self._loading[weights]

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
            idle = [w for w, slot in self._slots.items() if slot.users == 0]
            surplus = idle[: max(0, len(self._slots) - self._max_loaded)]
            slots = [(w, self._slots.pop(w)) for w in surplus]
        for weights, slot in slots:
            log.info("model_unloaded", version=weights.store_path)
            slot.responder.close()

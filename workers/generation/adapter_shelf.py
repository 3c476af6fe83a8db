"""Adapters in this host's memory: read once, kept while there is room."""

import threading
from collections import OrderedDict
from collections.abc import Callable

import structlog

from core.conversations.utterances import Weights
from workers.generation.adapters import LoraAdapter
from workers.generation.keyed_locks import KeyedLocks

log = structlog.get_logger(__name__)


class AdapterShelf:
    """Adapters of one base, the least recently used leaves first. Safe among threads.

    An adapter is fetched and read in the thread of who asks for it, so answers under way do not
    wait. One that leaves lives on with the answers that it is used for.
    """

    def __init__(self, read: Callable[[Weights], LoraAdapter], max_bytes: int) -> None:
        self._read = read
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Weights, LoraAdapter] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = KeyedLocks()

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)

    def get(self, weights: Weights) -> LoraAdapter:
        """The adapter of a version.

        Raises:
            StoreError: the version is missing or damaged.
            AdapterRefusedError: it is whole but cannot be served.
        """
        with self._reading.held(weights):
            with self._lock:
                adapter = self._kept.get(weights)
                if adapter is not None:
                    self._kept.move_to_end(weights)
                    return adapter
            adapter = self._read(weights)
            log.info("adapter_loaded", version=weights.store_path, rank=adapter.rank)
            with self._lock:
                self._kept[weights] = adapter
                self._shrink()
        return adapter

    def _shrink(self) -> None:
        total = sum(adapter.total_bytes for adapter in self._kept.values())
        while total > self._max_bytes and len(self._kept) > 1:
            _, adapter = self._kept.popitem(last=False)
            total -= adapter.total_bytes
            log.info("adapter_unloaded", version=adapter.name)

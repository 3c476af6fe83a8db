"""One lock for each of many keys, for as long as somebody wants it."""

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    wanted: int = 0


class KeyedLocks:
    """What takes long is done once for each key, whoever asks; other keys do not wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[Hashable, _Entry] = {}

    @contextmanager
    def held(self, key: Hashable) -> Iterator[None]:
        """Keep others out; the lock goes with the last who wants it."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            entry.wanted += 1
        try:
            with entry.lock:
                yield
        finally:
            with self._lock:
                entry.wanted -= 1
                if not entry.wanted:
                    del self._entries[key]

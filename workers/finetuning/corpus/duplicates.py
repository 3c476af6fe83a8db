"""Documents that were there before, word for word or nearly."""

import hashlib
import re
from dataclasses import dataclass, field

from rensa import RMinHash, RMinHashLSH  # type: ignore[import-untyped]

from workers.finetuning.corpus.documents import Conversation, Document

_WORD = re.compile(r"\w+")
_SHINGLE_WORDS = 3
_PERMUTATIONS = 128
_BANDS = 32
# Short texts share most of their words by chance: “yes” answers many questions.
_MIN_WORDS = 20


@dataclass(slots=True)
class DuplicateFilter:
    """Remembers every document it passed, as 16 bytes and, where long enough, a MinHash.

    Near-duplicates are found by MinHash over three-word shingles with locality-sensitive hashing
    (Broder 1997; Leskovec, Rajaraman, Ullman, *Mining of Massive Datasets*, chapter 3).

    Attributes:
        near_threshold: Jaccard similarity of shingles from which two documents count as one.
        exact: how many were dropped as equal, case and spacing aside.
        near: how many were dropped as nearly equal.
    """

    near_threshold: float = 0.8
    exact: int = 0
    near: int = 0
    _digests: set[bytes] = field(default_factory=set)
    _hashes: dict[int, RMinHash] = field(default_factory=dict)
    _index: RMinHashLSH = field(init=False)

    def __post_init__(self) -> None:
        self._index = RMinHashLSH(
            threshold=self.near_threshold, num_perm=_PERMUTATIONS, num_bands=_BANDS
        )

    def is_new(self, document: Document) -> bool:
        """Whether the document differs from all before; counts and forgets it where not."""
        words = _WORD.findall(_key(document).casefold())
        digest = hashlib.blake2b(" ".join(words).encode(), digest_size=16).digest()
        if not words:
            # Only punctuation: told apart by its characters.
            digest = hashlib.blake2b(_key(document).encode(), digest_size=16).digest()
        if digest in self._digests:
            self.exact += 1
            return False
        self._digests.add(digest)
        if len(words) >= _MIN_WORDS and self._is_near(words):
            self.near += 1
            return False
        return True

    def _is_near(self, words: list[str]) -> bool:
        minhash = RMinHash(num_perm=_PERMUTATIONS, seed=42)
        minhash.update(_shingles(words))
        for candidate in self._index.query(minhash):
            if self._hashes[candidate].jaccard(minhash) >= self.near_threshold:
                return True
        key = len(self._hashes)
        self._index.insert(key, minhash)
        self._hashes[key] = minhash
        return False


def _shingles(words: list[str]) -> list[str]:
    return [" ".join(words[i : i + _SHINGLE_WORDS]) for i in range(len(words) - _SHINGLE_WORDS + 1)]


def _key(document: Document) -> str:
    """What makes a document itself: its words without the system turn, which many share."""
    parts: list[str] = []
    for example in document.examples:
        if isinstance(example, Conversation):
            parts.extend(turn.text for turn in example.turns if turn.role != "system")
        else:
            parts.append(example.text)
    return "\n".join(parts)

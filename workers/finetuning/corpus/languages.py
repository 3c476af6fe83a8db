"""Which languages a corpus is in, by ``py3langid`` (Lui and Baldwin's langid.py)."""

from collections import Counter
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

_MAX_CHARACTERS = 600
_MIN_CHARACTERS = 20
# What is less beside another language is more likely a guess that went wrong.
_MIN_SHARE, _MIN_CHARACTERS_BESIDE = 0.05, 400
UNKNOWN = "und"


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def detect_language(text: str) -> str:
    """The ISO 639-1 code of the text's language; ``und`` for too little text to tell."""
    sample = text[:_MAX_CHARACTERS]
    if sum(c.isalpha() for c in sample) < _MIN_CHARACTERS:
        return UNKNOWN
    code, _ = _identifier().classify(sample)
    return str(code)


class LanguageTally:
    """Shares of languages by characters, from at most ``max_samples`` documents spread evenly."""

    def __init__(self, max_samples: int = 400) -> None:
        self._max_samples = max_samples
        self._seen = 0
        self._stride = 1
        self._samples: list[tuple[str, int]] = []

    def add(self, text: str) -> None:
        """Take the document in; only every so many-th is looked at once there are many."""
        if self._seen % self._stride == 0:
            self._samples.append((detect_language(text), len(text)))
        self._seen += 1
        if len(self._samples) >= self._max_samples:
            self._samples = self._samples[::2]
            self._stride *= 2

    def shares(self) -> dict[str, float]:
        """Language code to share of characters, greatest first; beside it only what is 5 % and some
        sixty words at least."""
        weights: Counter[str] = Counter()
        for code, size in self._samples:
            weights[code] += size
        total = sum(weights.values()) or 1
        return {
            code: round(size / total, 3)
            for place, (code, size) in enumerate(weights.most_common())
            if place == 0 or (size / total >= _MIN_SHARE and size >= _MIN_CHARACTERS_BESIDE)
        }

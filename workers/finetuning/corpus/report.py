"""What an admin reads before a fine-tune starts, as plain data."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Warning_ = Literal[
    "little-text",
    "one-speaker",
    "other-language",
    "no-validation",
    "few-validation",
    "over-long",
]
LITTLE_TEXT_BYTES = 1_000_000
# With fewer documents held back, which checkpoint is best is up to chance.
_FEW_TO_JUDGE_BY = 4


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens of one example: all, those the loss counts, and whether it outgrew a block."""

    tokens: int
    trained: int
    over_long: bool


@dataclass(slots=True)
class SplitCount:
    """What one split holds; tokens are 0 where no tokenizer was given."""

    documents: int = 0
    examples: int = 0
    tokens: int = 0


@dataclass(slots=True)
class CorpusReport:
    """Figures of a corpus that was read, cleaned, masked and split.

    Attributes:
        files: names as they were uploaded.
        documents, examples, turns, characters, tokens: what is left to learn from. Tokens are
            the base's own, templates included, and 0 where no tokenizer was given.
        trained_tokens: those that the loss counts: answers, and all of running text.
        languages: code to share of characters.
        exact_duplicates, near_duplicates: documents dropped.
        empty: examples dropped because nothing could be learnt from them.
        over_long: examples longer than a block; their beginnings are left out.
        masked: mask to how often it was set.
        splits: by name.
        sha256: of the prepared corpus.
        speakers: display names found; more than 1,000 are not counted.
        warnings: stable words; see :data:`Warning_`.
    """

    files: list[str] = field(default_factory=list)
    documents: int = 0
    examples: int = 0
    conversations: int = 0
    turns: int = 0
    characters: int = 0
    bytes: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    languages: dict[str, float] = field(default_factory=dict)
    exact_duplicates: int = 0
    near_duplicates: int = 0
    empty: int = 0
    over_long: int = 0
    masked: dict[str, int] = field(default_factory=dict)
    splits: dict[str, SplitCount] = field(default_factory=dict)
    sha256: str = ""
    speakers: int = 0
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Ordinary JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "CorpusReport":
        """The report that :meth:`to_json` wrote."""
        splits = {name: SplitCount(**counts) for name, counts in values["splits"].items()}
        return cls(**{**values, "splits": splits})


def warnings_of(
    report: CorpusReport, base_languages: frozenset[str], *, monologues: int = 0
) -> list[str]:
    """What the admin should know before spending hours.

    Args:
        report: with all figures set.
        base_languages: what the base was trained on; empty where nobody knows.
        monologues: documents left out because only one person speaks in them.
    """
    found: list[Warning_] = []
    if report.bytes < LITTLE_TEXT_BYTES:
        found.append("little-text")
    if monologues > report.documents:
        found.append("one-speaker")
    main = next(iter(report.languages), "und")
    if base_languages and main != "und" and main not in base_languages:
        found.append("other-language")
    if not report.splits["validation"].documents:
        found.append("no-validation")
    elif report.splits["validation"].documents < _FEW_TO_JUDGE_BY:
        found.append("few-validation")
    if report.over_long > report.examples // 10:
        found.append("over-long")
    return list(found)

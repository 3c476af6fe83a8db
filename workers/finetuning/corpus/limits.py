"""Bounds that keep reading cheap whatever is uploaded."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CorpusLimits:
    """What one upload may cost. Sizes are in bytes of unpacked content or in characters.

    Attributes:
        max_unpacked_bytes: of one file, or of all members of one archive together.
        max_ratio: unpacked over packed size above which an archive is called a bomb.
        ratio_grace_bytes: unpacked bytes that are allowed before the ratio is looked at.
        max_members: files in one archive.
        max_line_characters: one line of a text, a JSON Lines record or a table.
        max_passage_characters: running text is cut into passages of about this length.
        min_examples: what must be left after cleaning.
    """

    max_unpacked_bytes: int = 1 << 30
    max_ratio: int = 250
    ratio_grace_bytes: int = 8 << 20
    max_members: int = 1000
    max_line_characters: int = 4 << 20
    max_passage_characters: int = 4000
    min_examples: int = 10

"""Personal data and secrets masked before anything is learnt.

Phone numbers are recognised by ``phonenumbers``, Google's library; e-mail addresses by the shape
that browsers accept; keys and tokens by the prefixes that their issuers publish so that scanners
can find them.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import phonenumbers

from workers.finetuning.corpus.documents import Conversation, Document, Example, PlainText

EMAIL, PHONE, SECRET = "[email]", "[phone]", "[secret]"
DEFAULT_REGIONS = ("FR", "US", "GB")

_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+"
    r"[A-Za-z]{2,24}(?![\w-])"
)
_MAYBE_PHONE = re.compile(r"(?<![\w.])\+?\(?\d(?:[\s.()/-]{0,3}\d){6,14}(?![\w])")
_SECRET = re.compile(
    "|".join(
        (
            r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[\s\S]{0,8000}?-----END [A-Z ]{0,20}KEY-----",
            r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
            r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b",
            r"\bgithub_pat_[A-Za-z0-9_]{60,255}\b",
            r"\bglpat-[A-Za-z0-9_-]{20,64}",
            r"\bsk-[A-Za-z0-9_-]{20,200}",
            r"\bhf_[A-Za-z0-9]{30,60}\b",
            r"\bxox[abprs]-[A-Za-z0-9-]{10,200}",
            r"\bAIza[A-Za-z0-9_-]{35}",
            r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,200}\b",
            r"\bnpm_[A-Za-z0-9]{36}\b",
            r"\bpypi-[A-Za-z0-9_-]{50,300}",
            r"\beyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,1000}",
            # A Discord bot token: the id in base64, a time stamp, a signature.
            r"\b[MNO][A-Za-z\d_-]{23,27}\.[A-Za-z\d_-]{6}\.[A-Za-z\d_-]{27,45}",
            r"https://(?:\w+\.)?discord(?:app)?\.com/api/webhooks/\d{15,22}/[A-Za-z0-9_-]{50,90}",
            r"\b\d{8,10}:AA[A-Za-z0-9_-]{33}\b",
        )
    )
)


@dataclass(slots=True)
class Masker:
    """Replaces what it finds and counts it by kind.

    Attributes:
        regions: two-letter countries whose national ways of writing a number are known too.
        counts: how often each mask was set so far.
    """

    regions: tuple[str, ...] = DEFAULT_REGIONS
    counts: Counter[str] = field(default_factory=Counter)

    def mask_text(self, text: str) -> str:
        """The text with every find replaced by its mask."""
        text = self._replace(_SECRET, SECRET, text, lambda _: True)
        if "@" in text:
            text = self._replace(_EMAIL, EMAIL, text, lambda _: True)
        return self._replace(_MAYBE_PHONE, PHONE, text, self._is_phone)

    def mask_document(self, document: Document) -> Document:
        """The document with every text of it masked; names of speakers stay."""
        return replace(document, examples=tuple(self._mask(one) for one in document.examples))

    def _mask(self, example: Example) -> Example:
        if isinstance(example, PlainText):
            return PlainText(self.mask_text(example.text))
        return Conversation(
            tuple(replace(turn, text=self.mask_text(turn.text)) for turn in example.turns)
        )

    def _replace(
        self, pattern: re.Pattern[str], mask: str, text: str, accept: Callable[[str], bool]
    ) -> str:
        def substitute(found: re.Match[str]) -> str:
            if not accept(found[0]):
                return found[0]
            self.counts[mask] += 1
            return mask

        return pattern.sub(substitute, text)

    def _is_phone(self, text: str) -> bool:
        for region in self.regions if not text.startswith("+") else (None,):
            try:
                number = phonenumbers.parse(text, region)
            except phonenumbers.NumberParseException:
                continue
            if phonenumbers.is_valid_number(number) and _is_written_as_one(text):
                return True
        return False


def _is_written_as_one(text: str) -> bool:
    """A bare run of digits is more often an amount or an id than a number to call."""
    return text.startswith(("+", "0")) or any(mark in text for mark in " .-(/")

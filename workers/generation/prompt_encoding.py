"""Text to token ids where a special token written by a member stays the text that it is."""

import re
from collections.abc import Iterator

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

# Private-use characters mark, inside a rendered template, where a member wrote a special token.
_OPEN, _CLOSE = "\uf8f0", "\uf8f1"
_MARK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


class PromptEncoder:
    """Encodes rendered templates. Thread-safe: it only reads its two tokenizers.

    Members' words go through :meth:`guard` before they are rendered. The guarded places are then
    encoded as plain text, so ``<|im_end|>`` in a message is six letters and some signs, never the
    end of a turn. Everything else is encoded in one piece with the template, as in training.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer: Tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._plain: Tokenizer = Tokenizer.from_str(self._tokenizer.to_str())
        self._plain.encode_special_tokens = True
        specials = {str(t) for t in tokenizer.added_tokens_decoder.values() if t.special}
        self._specials = sorted({*specials, *tokenizer.all_special_tokens}, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, self._specials)) or r"(?!)")

    def guard(self, text: str) -> str:
        """A member's words, with each special token in them replaced by a mark."""
        text = text.replace(_OPEN, "").replace(_CLOSE, "")
        return self._special.sub(lambda found: self._mark(found.group()), text)

    def encode(self, rendered: str) -> list[int]:
        """The token ids of a rendered template; nothing is put before or after."""
        ids: list[int] = []
        for text, is_guarded in self._pieces(rendered):
            tokenizer = self._plain if is_guarded else self._tokenizer
            ids += tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def without_beginning(self, text: str, surplus_tokens: int) -> str:
        """Guarded text less its first tokens; begins with a whole character."""
        start, left = 0, max(1, surplus_tokens)
        for piece, is_guarded in self._pieces(text):
            length = len(self._mark(piece)) if is_guarded else len(piece)
            offsets = self._plain.encode(piece, add_special_tokens=False).offsets
            if left < len(offsets) and (start or not is_guarded):
                # A mark stays whole; so does a character of many tokens, unless it is the first.
                cut = 0 if is_guarded else offsets[left][0]
                return text[start + cut or offsets[left][1] :]
            start, left = start + length, max(0, left - len(offsets))
        return ""

    def _mark(self, special: str) -> str:
        return f"{_OPEN}{self._specials.index(special)}{_CLOSE}"

    def _pieces(self, text: str) -> Iterator[tuple[str, bool]]:
        """The text cut at its marks; each piece with whether it is a member's special token."""
        end = 0
        for mark in _MARK.finditer(text):
            if mark.start() > end:
                yield text[end : mark.start()], False
            yield self._specials[int(mark.group(1))], True
            end = mark.end()
        if end < len(text):
            yield text[end:], False

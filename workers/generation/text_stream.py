"""From token ids to text: whole characters only, nothing of a stop string, no special token."""

from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

# What decoding puts where bytes make no character.
_NO_CHARACTER = "\ufffd"
_BROKEN = "Invalid prefix"


class TextStream:
    """Decodes one answer as it grows.

    Text that may be the beginning of a stop string is held back until it is known not to be one.
    """

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._stops = tuple(stop for stop in stops if stop)
        # None where the answer's bytes are no text, and it is decoded as a whole each time.
        self._decoder: DecodeStream | None = DecodeStream(skip_special_tokens=True)
        self._token_ids: list[int] = []
        self._decoded = 0
        self._held = ""
        self.is_stopped = False

    def push(self, *token_ids: int) -> str:
        """Take in tokens; returns the text that is certain by now.

        What comes after a stop string within them counts as not said.
        """
        self._token_ids += token_ids
        text = self._decode(token_ids)
        if self._stops:
            return self._release(text)
        self._decoded += len(text)
        return text

    def name(self, token_id: int) -> str:
        """A token's own text, special or not; half a character is broken."""
        first: str = self._tokenizer.decode([token_id], skip_special_tokens=False)
        if _NO_CHARACTER in first:
            return first
        # SentencePiece's decoders take its space from whatever begins a text.
        twice: str = self._tokenizer.decode([token_id, token_id], skip_special_tokens=False)
        return twice[len(first) :]

    def flush(self) -> str:
        """The answer has ended: what was held back is text after all, but half a character is not.

        The decoder keeps everything after a byte that fits no character, in the hope of more bytes;
        the whole answer decoded at once shows what of it is text.
        """
        text = self._release(self._rest())
        text, self._held = text + self._held, ""
        return text

    def _decode(self, token_ids: Sequence[int]) -> str:
        if self._decoder is not None:
            try:
                return self._decoder.step(self._tokenizer, list(token_ids)) or ""
            except Exception as exc:
                # The library has no class for it: tokens that are single bytes were text until one
                # came that fits no character, and the decoder takes none after that.
                if _BROKEN not in str(exc):
                    raise
                self._decoder = None
        return self._rest()

    def _rest(self) -> str:
        """What has not been decoded yet, but for bytes at the end that make no character."""
        whole: str = self._tokenizer.decode(self._token_ids, skip_special_tokens=True)
        return whole.rstrip(_NO_CHARACTER)[self._decoded :]

    def _release(self, more: str) -> str:
        self._decoded += len(more)
        self._held += more
        if self.is_stopped:
            self._held = ""
            return ""
        cut = min((i for s in self._stops if (i := self._held.find(s)) >= 0), default=-1)
        if cut >= 0:
            self.is_stopped = True
            text, self._held = self._held[:cut], ""
            return text
        keep = self._length_of_possible_stop()
        border = len(self._held) - keep
        text, self._held = self._held[:border], self._held[border:]
        return text

    def _length_of_possible_stop(self) -> int:
        """The longest end of the text that is the beginning of a stop string."""
        longest = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:length]):
                    longest = length
                    break
        return longest

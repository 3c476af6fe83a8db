"""Cut a long answer into messages that Discord takes. Plain Python, no Discord.

A cut falls at a paragraph, a line, a sentence or a word, in this order of preference, and never
inside a grapheme cluster, a ``<:custom:1>`` tag or a mention. A code fence that is open at a cut is
closed there and opened again, with its language, in the next message. Where the first cut falls
depends only on the text before it, so the messages of a growing answer stay as they are.
"""

import re

import regex

# Discord's limit counts code points; counting UTF-16 units is never less.
LIMIT = 2000
# A language's name is short; what opens the next message must leave room for its text.
_FENCE = re.compile(r"^\s{0,3}```([\w+#.-]{0,32})", re.MULTILINE)
_TAG = re.compile(r"<[^\s<>]{1,100}>")
_CLOSING = "\n```"
_BREAKS = ("\n\n", "\n", ". ", "! ", "? ", "… ", " ")


def split_message(text: str, limit: int = LIMIT) -> list[str]:
    """The messages that show ``text``, in order; none for text that is only white space.

    Args:
        text: any text.
        limit: the most UTF-16 units for one message; at least 100.
    """
    parts: list[str] = []
    rest, opening = text.strip(), ""
    while rest:
        rest = opening + rest
        if _length(rest) <= limit:
            parts.append(rest)
            break
        cut = _find_cut(rest, limit - len(_CLOSING), len(opening))
        head, rest = rest[:cut].rstrip(), rest[cut:]
        language = _open_fence(head)
        if language is None:
            opening, rest = "", rest.lstrip()
        else:
            head, opening, rest = head + _CLOSING, f"```{language}\n", rest.lstrip("\n")
        parts.append(head)
    return [part for part in parts if part.strip()]


def _length(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)


def _find_cut(text: str, limit: int, least: int) -> int:
    """Where to end the first message: an index with ``least < index`` and the text before it short
    enough."""
    window = _longest_fitting(text, limit)
    for separator in _BREAKS:
        # A cut in the first half would leave a short message, so a finer break is better.
        found = text.rfind(separator, max(least, window // 2), window)
        if found > least:
            return _outside_tag(text, found + len(separator), least)
    return _outside_tag(text, _whole_clusters(text, window, least), least)


def _longest_fitting(text: str, limit: int) -> int:
    units = 0
    for index, character in enumerate(text):
        units += 2 if character > "\uffff" else 1
        if units > limit:
            return index
    return len(text)


def _whole_clusters(text: str, window: int, least: int) -> int:
    """The last border of a grapheme cluster in the window; a cluster longer than it is cut."""
    # One more character than the window shows whether its last cluster goes on.
    last = least
    for cluster in regex.finditer(r"\X", text[: window + 1], pos=least):
        if cluster.end() > window:
            break
        last = cluster.end()
    return last if last > least else window


def _outside_tag(text: str, cut: int, least: int) -> int:
    for tag in _TAG.finditer(text, max(least, cut - 102), cut + 102):
        if tag.start() < cut < tag.end() and tag.start() > least:
            return tag.start()
    return cut


def _open_fence(text: str) -> str | None:
    """The language of the code fence that is open at the end, ``""`` for none named; else None."""
    fences = _FENCE.findall(text)
    return fences[-1] if len(fences) % 2 else None

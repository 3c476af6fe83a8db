"""Running text, and the two dialogue sets that are published as text files."""

import re
from collections.abc import Iterator

from workers.finetuning.corpus.documents import Conversation, Document, PlainText, Turn
from workers.finetuning.corpus.files import Source
from workers.finetuning.corpus.limits import CorpusLimits
from workers.finetuning.corpus.records import alternate
from workers.finetuning.corpus.text import read_lines

DAILYDIALOG_MARK = "__eou__"
# What gpt-2-simple and many others write between samples.
SAMPLE_MARK = "<|endoftext|>"
_START_MARK = "<|startoftext|>"
_PERSONA_LINE = re.compile(r"^(\d+) (your persona: |partner's persona: )?(.*)$")
# A passage ends at the first empty line behind this share of its longest length.
_EARLIEST_END = 0.25


def read_text(source: Source, encoding: str, limits: CorpusLimits) -> Iterator[Document]:
    """Passages that end at empty lines where possible and at line ends else.

    Raises:
        CorpusError: a line is too long or is not in the encoding.
    """
    passage: list[str] = []
    size, start = 0, 1
    most = limits.max_passage_characters
    for number, line in read_lines(source, encoding, limits):
        for is_new, piece in _pieces(line, most):
            full = size + len(piece) > most
            rested = not piece.strip() and size > most * _EARLIEST_END
            if size and (is_new or full or rested):
                yield _passage(passage, source, start)
                passage, size, start = [], 0, number
            if not passage and not piece.strip():
                start = number + 1
                continue
            passage.append(piece)
            size += len(piece) + 1
    if size:
        yield _passage(passage, source, start)


def _passage(lines: list[str], source: Source, start: int) -> Document:
    return Document((PlainText("\n".join(lines).strip("\n")),), source.name, start)


def _pieces(line: str, most: int) -> Iterator[tuple[bool, str]]:
    """The parts of a line and whether each begins a new sample; long ones are cut at spaces."""
    for index, part in enumerate(line.replace(_START_MARK, "").split(SAMPLE_MARK)):
        rest = part
        while len(rest) > most:
            cut = rest.rfind(" ", most // 2, most) + 1 or most
            yield False, rest[:cut]
            rest = rest[cut:]
        yield index > 0, rest


def looks_like_persona_chat(lines: list[str]) -> bool:
    """ParlAI's Persona-Chat: numbered lines that begin with a persona."""
    matches = [_PERSONA_LINE.match(line) for line in lines if line.strip()]
    return bool(matches) and all(matches) and bool(matches[0] and matches[0][2])


def read_dailydialog(source: Source, encoding: str, limits: CorpusLimits) -> Iterator[Document]:
    """DailyDialog's own text file: one dialogue a line, ``__eou__`` behind each utterance."""
    for number, line in read_lines(source, encoding, limits):
        texts = [text.strip() for text in line.split(DAILYDIALOG_MARK) if text.strip()]
        if texts:
            yield Document((alternate(texts),), source.name, number)


def read_persona_chat(source: Source, encoding: str, limits: CorpusLimits) -> Iterator[Document]:
    """Persona-Chat's own text file: the numbering starts again with each dialogue."""
    about: list[str] = []
    said: list[str] = []
    start = 1
    for number, line in read_lines(source, encoding, limits):
        matched = _PERSONA_LINE.match(line)
        if matched is None:
            continue
        if matched[1] == "1":
            if said:
                yield _persona_document(about, said, source, start)
            about, said, start = [], [], number
        if matched[2]:
            if matched[2].startswith("your"):
                about.append(matched[3])
        else:
            said.extend(part for part in matched[3].split("\t")[:2] if part)
    if said:
        yield _persona_document(about, said, source, start)


def _persona_document(about: list[str], said: list[str], source: Source, start: int) -> Document:
    persona = (Turn("system", "\n".join(about)),) if about else ()
    return Document((Conversation((*persona, *alternate(said).turns)),), source.name, start)

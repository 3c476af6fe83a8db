"""Why a corpus cannot be read: file, line and reason as data, and one clear sentence."""

from core.errors import InvalidInputError

# The stable word of each reason, with the sentence that English readers see. The words are what
# a translation chooses by; braces are filled from the error's data.
REASONS = {
    "empty": "the file is empty",
    "unreadable": "the file cannot be opened",
    "binary": "the file is {found}, not text",
    "not-text": "there are bytes that no text holds",
    "encoding": "the bytes are not {encoding} text; save the file as UTF-8",
    "long-line": "the line is longer than {limit} characters",
    "long-value": "a value is longer than {limit} characters",
    "too-large": "unpacked, the file is larger than {limit} bytes",
    "bomb": "the archive unpacks to more than {limit} times its size",
    "archive": "the archive is damaged",
    "archive-members": "the archive holds more than {limit} files",
    "archive-empty": "the archive holds no file that can be read",
    "archive-encrypted": "the archive is locked with a password",
    "archive-nested": "the archive holds another archive",
    "archive-path": "the archive names a file outside itself",
    "archive-method": "the archive is packed by a method that is not supported",
    "json": "the JSON is broken or ends too early",
    "table": "the table is broken: {detail}",
    "fields": (
        "the record has the fields {found}, which no known format has; known are text, "
        "prompt and completion, instruction and output, input and target, messages, "
        "conversations, dialog"
    ),
    "columns": (
        "the columns {found} belong to no known format; known are text, prompt and completion, "
        "instruction and output, input and target, or an export of a known data set"
    ),
    "value": "the field “{field}” does not hold what its format says",
    "record": "the record is neither a text nor an object with fields",
    "no-records": "there is no list of records in it",
    "one-speaker": (
        "only one person speaks in it; an answer can be learnt only where somebody asks"
    ),
    "all-alike": (
        "everything in it says the same; at least {limit} different examples are needed to learn "
        "from"
    ),
    "too-small": (
        "only {found} examples are left after cleaning; at least {limit} are needed to learn from"
    ),
}


class CorpusError(InvalidInputError):
    """A corpus cannot be used.

    ``data`` has ``file``, ``line`` (counted from 1; in JSON that is no JSON Lines the number of
    the record; 0: the file as a whole), ``reason`` (a key of :data:`REASONS`), ``detail`` (the
    reason as an English sentence) and whatever the sentence is filled with.
    """

    code = "corpus"

    def __init__(self, reason: str, *, file: str, line: int = 0, **filled: str | int) -> None:
        sentence = REASONS[reason].format(**filled)
        place = f"{file}, line {line}" if line else file
        extra = {key: value for key, value in filled.items() if key != "detail"}
        super().__init__(
            f"{place}: {sentence}.", file=file, line=line, reason=reason, detail=sentence, **extra
        )

"""Tells well-known binary files by their first bytes."""

GZIP = b"\x1f\x8b"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")

_SIGNATURES = (
    (b"%PDF-", "pdf"),
    (b"\x89PNG", "picture"),
    (b"\xff\xd8\xff", "picture"),
    (b"GIF8", "picture"),
    (b"RIFF", "media"),
    (b"OggS", "sound"),
    (b"ID3", "sound"),
    (b"fLaC", "sound"),
    (b"\x00\x00\x00\x18ftyp", "video"),
    (b"\x00\x00\x00\x20ftyp", "video"),
    (b"\x1aE\xdf\xa3", "video"),
    (b"\x7fELF", "program"),
    (b"MZ", "program"),
    (b"\xca\xfe\xba\xbe", "program"),
    (b"Rar!", "foreign-archive"),
    (b"7z\xbc\xaf", "foreign-archive"),
    (b"\xfd7zXZ", "foreign-archive"),
    (b"\x28\xb5\x2f\xfd", "foreign-archive"),
    (b"BZh", "foreign-archive"),
    (b"PAR1", "parquet"),
    (b"SQLite format 3\x00", "database"),
    (b"\xd0\xcf\x11\xe0", "office"),
    (b"{\\rtf", "rich-text"),
    (b"GGUF", "model"),
    (b"\x80\x02", "pickle"),
    (b"\x80\x04", "pickle"),
    (b"\x80\x05", "pickle"),
)
# The stable word of each kind, with what English readers are told it is.
BINARY_KINDS = {
    "pdf": "a PDF",
    "picture": "a picture",
    "media": "a sound, video or WebP file",
    "sound": "a sound file",
    "video": "a video",
    "program": "a program",
    "foreign-archive": "an archive of a kind that is not supported (use ZIP or gzip)",
    "parquet": "a Parquet table",
    "database": "a SQLite database",
    "office": "an old Office document",
    "rich-text": "a rich-text document",
    "model": "a model",
    "pickle": "a pickle",
}
_UTF16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
# Short signatures are also how a sentence may begin, so they need a control character to count.
_WORDY = (b"MZ", b"BZh", b"ID3", b"RIFF", b"GIF8", b"PAR1", b"GGUF", b"OggS", b"Rar!", b"fLaC")


def sniff_binary(head: bytes) -> str:
    """Which of :data:`BINARY_KINDS` begins with ``head``; empty for what may be text."""
    if head.startswith(_UTF16_OR_32):
        return ""
    for signature, what in _SIGNATURES:
        if head.startswith(signature) and (signature not in _WORDY or _has_controls(head)):
            return what
    if len(head) > 262 and head[257:262] == b"ustar":
        return "foreign-archive"
    return ""


def _has_controls(head: bytes) -> bool:
    return any(byte < 32 and byte not in b"\t\n\r\f" for byte in head)

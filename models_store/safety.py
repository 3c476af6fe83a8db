"""Which files a version may hold, by name and by content. Nothing that unpickles gets in."""

import codecs
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open

from models_store.errors import UnsafeFileError
from models_store.manifest import MANIFEST_NAME
from models_store.paths import check_path

_TEXT_SUFFIXES = {".json", ".txt", ".md", ".jinja", ".jsonl", ".csv", ".tsv"}
_TEXT_NAMES = {"LICENSE", "NOTICE"}
# SentencePiece's protobuf begins with its first piece; other tokenizers of this name are text.
_TOKENIZER_SUFFIXES = {".model", ".spm"}
_SENTENCEPIECE_START = b"\n"
_PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}
# A zip (torch.save) and pickle protocols 2 to 5.
_PICKLE_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_CHUNK_BYTES = 2**20


def check_name(name: str) -> None:
    """Refuse a name that leaves its folder, and a kind of file that no version needs.

    Raises:
        UnsafeFileError: the name is refused.
    """
    check_path(name)
    path = PurePosixPath(name)
    if path.suffix in _PICKLE_SUFFIXES:
        raise UnsafeFileError(
            f"“{name}” is a pickle, which can run code when it is read; convert the weights to "
            "safetensors elsewhere.",
            file=name,
        )
    allowed = {".safetensors", *_TEXT_SUFFIXES, *_TOKENIZER_SUFFIXES}
    if name == MANIFEST_NAME or (path.suffix not in allowed and path.name not in _TEXT_NAMES):
        raise UnsafeFileError(
            f"“{name}” is of a kind that the store does not keep: it takes safetensors, "
            "configuration, tokenizers and text.",
            file=name,
        )


def check_content(file: Path, name: str) -> None:
    """Refuse a file whose content is not what its name says.

    Raises:
        UnsafeFileError: the content is refused.
    """
    with file.open("rb") as source:
        head = source.read(4)
    if head.startswith(_PICKLE_MAGIC):
        raise UnsafeFileError(f"“{name}” holds a pickle or an archive.", file=name)
    suffix = PurePosixPath(name).suffix
    if suffix == ".safetensors":
        _check_safetensors(file, name)
    elif suffix not in _TOKENIZER_SUFFIXES or not head.startswith(_SENTENCEPIECE_START):
        _check_text(file, name)


def _check_safetensors(file: Path, name: str) -> None:
    """Let the library read the header: it checks types, shapes, offsets and the file's length."""
    try:
        with safe_open(file, framework="numpy"):
            pass
    except (SafetensorError, OSError) as exc:
        raise UnsafeFileError(f"“{name}” is no whole safetensors file: {exc}.", file=name) from exc


def _check_text(file: Path, name: str) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with file.open("rb") as source:
            while chunk := source.read(_CHUNK_BYTES):
                if "\0" in decoder.decode(chunk):
                    raise UnsafeFileError(f"“{name}” is no text.", file=name)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as exc:
        raise UnsafeFileError(f"“{name}” is no text in UTF-8.", file=name) from exc

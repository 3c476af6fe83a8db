"""The files of a published version, read and proven one by one by who wants to hand them on.

The model store fetches whole versions for those who compute with them; this reads single files for
the bot, which knows no model store. Both believe nothing but the hash that the catalogue has.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from fsspec.core import url_to_fs
from safetensors import SafetensorError
from safetensors.numpy import load, save

from core.errors import PerroquetError, ServiceUnavailableError, StoreError

_MANIFEST = "manifest.json"
_WEIGHTS = ".safetensors"
# What a tokenizer is made of lies with the base too, and is larger than many an adapter.
_NOT_HANDED_ON = ("tokenizer", "vocab", "merges", "special_tokens", "added_tokens")


class TooLargeToSendError(PerroquetError):
    """The version does not fit an upload."""

    code = "too-large-to-send"


@dataclass(frozen=True)
class ExportedFile:
    """One file of a version."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Export:
    """What is handed on; ``is_halved`` where the weights were rounded to 16 bits to fit."""

    files: list[ExportedFile]
    is_halved: bool


class VersionFiles:
    """Reads files of versions below the store's URL. Safe among threads; each call blocks."""

    def __init__(self, store_url: str) -> None:
        self._store_url = store_url

    def export(self, path: str, manifest_sha256: str, max_bytes: int) -> Export:
        """Weights, configuration and model card of a version, without its tokenizer.

        Weights of 32 bits that do not fit are rounded to 16, which an adapter hardly feels.

        Args:
            path: of the version, below the store's URL.
            manifest_sha256: as the catalogue has it.
            max_bytes: what all files together may have.

        Raises:
            TooLargeToSendError: there is more, even rounded.
            StoreError: a file is missing, or is not what was published.
            ServiceUnavailableError: the store cannot be reached.
        """
        manifest = self._read(path, _MANIFEST, manifest_sha256)
        files: dict[str, dict[str, Any]] = json.loads(manifest)["files"]
        wanted = {n: f for n, f in files.items() if not n.startswith(_NOT_HANDED_ON)}
        total = sum(int(file["bytes"]) for file in wanted.values())
        if total > 2 * max_bytes:
            raise _too_large(total, max_bytes)
        read = {name: self._read(path, name, file["sha256"]) for name, file in wanted.items()}
        if total > max_bytes:
            read = {n: _halve(c) if n.endswith(_WEIGHTS) else c for n, c in read.items()}
        if sum(map(len, read.values())) > max_bytes:
            raise _too_large(total, max_bytes)
        exported = [ExportedFile(n.replace("/", "-"), c) for n, c in sorted(read.items())]
        return Export(exported, is_halved=total > max_bytes)

    def _read(self, path: str, name: str, sha256: str) -> bytes:
        try:
            filesystem, root = url_to_fs(self._store_url)
            content: bytes = filesystem.cat_file(f"{root.rstrip('/')}/{path}/{name}")
        except FileNotFoundError as exc:
            raise StoreError(f"{path}/{name} is missing.", file=name) from exc
        except Exception as exc:
            # Each backend has a tree of its own.
            raise ServiceUnavailableError(
                f"The store cannot be used: {type(exc).__name__}: {exc}.", service="store"
            ) from exc
        if hashlib.sha256(content).hexdigest() != sha256:
            raise StoreError(f"{path}/{name} is not what was published.", file=name)
        return content


def _too_large(total: int, max_bytes: int) -> TooLargeToSendError:
    return TooLargeToSendError(f"{total} bytes do not fit an upload of {max_bytes}.")


def _halve(weights: bytes) -> bytes:
    """Tensors of 32 bits as tensors of 16; the same bytes where that cannot be or loses a value."""
    try:
        tensors = load(weights)
    except (SafetensorError, KeyError, TypeError):
        # NumPy has no bfloat16; such weights are small already.
        return weights
    with np.errstate(over="ignore"):
        halved = {
            name: tensor.astype(np.float16) if tensor.dtype == np.float32 else tensor
            for name, tensor in tensors.items()
        }
    if not all(np.isfinite(tensor).all() for tensor in halved.values()):
        return weights
    # Readers look for the framework in the header.
    return save(halved, metadata={"format": "pt"})

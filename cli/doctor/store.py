"""The model store: what is written there can be read again."""

import os
import secrets
from pathlib import Path

import fsspec

from cli.doctor.findings import Finding, failed, ok, reason_of, warning
from cli.doctor.machine import nearest_existing
from core.settings import mask_url

_FIX = (
    "Correct STORE_URL, its credentials and permissions: this user must be able to write, read "
    "and delete there."
)


def check_store(url: str, *, is_used: bool = False) -> Finding:
    """Whether a small file can be written, read and deleted.

    Args:
        url: of the store.
        is_used: rows name versions in it, so that a folder which is missing is the wrong one.
    """
    shown = mask_url(url)
    if url.startswith("file://"):
        folder = Path(url.removeprefix("file://"))
        if not folder.exists():
            return _warn_of_absence(folder) if is_used else _check_parent(folder)
    content = secrets.token_bytes(64)
    try:
        files, root = fsspec.core.url_to_fs(url)
        path = f"{root.rstrip('/')}/doctor-{secrets.token_hex(8)}"
        files.pipe_file(path, content)
        try:
            is_same = files.cat_file(path) == content
        finally:
            files.rm_file(path)
    except Exception as exc:  # noqa: BLE001 - each of fsspec's file systems raises its own
        return failed("store", f"{shown} cannot be used: {_reason(exc)}", _FIX)
    if not is_same:
        return failed("store", f"{shown} gives back other bytes than were written", _FIX)
    return ok("store", f"{shown} can be written and read")


def _warn_of_absence(folder: Path) -> Finding:
    return warning(
        "store",
        f"{folder} is not there, though the database names versions in it",
        "Correct STORE_URL, or mount what should be there.",
    )


def _check_parent(folder: Path) -> Finding:
    above = nearest_existing(folder)
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        return failed("store", f"{folder} cannot be made in {above}", _FIX)
    return ok("store", f"{folder} will be made at first use")


def _reason(exc: Exception) -> str:
    # Of some backends the class says more than the words, and of others less.
    name, said = type(exc).__name__, reason_of(exc)
    return said if said == name else f"{name}: {said}"

"""Progress bars of libraries, which each leave a blank line above a screen that draws its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import modeling_gguf_pytorch_utils
from transformers.utils import logging


@contextmanager
def without_bars() -> Iterator[None]:
    """Let ``transformers`` show none meanwhile."""
    untyped: Any = logging
    was_enabled = untyped.is_progress_bar_enabled()
    untyped.disable_progress_bar()
    # The one that reads GGUF tensors asks nobody.
    reading: Any = modeling_gguf_pytorch_utils
    shown = reading.tqdm
    reading.tqdm = lambda rows, **_: rows
    try:
        yield
    finally:
        reading.tqdm = shown
        if was_enabled:
            untyped.enable_progress_bar()

"""GGUF files to ``transformers`` folders with safetensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import gguf
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from workers.conversion.bars import without_bars
from workers.generation.chat_format import give_template
from workers.generation.errors import ModelUnreadableError


@without_bars()
def convert_gguf(file: Path, target: Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Read a GGUF file with ``transformers`` and save it as an ordinary model folder.

    Args:
        file: a causal language model of an architecture that ``transformers`` reads from GGUF.
        target: the folder to write.
        dtype: of the weights written; quantized weights are dequantized.

    Raises:
        ModelUnreadableError: the file cannot be read.
    """
    try:
        with _parsed_once():
            config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
            tokenizer = AutoTokenizer.from_pretrained(
                file.parent, gguf_file=file.name, config=config
            )
            model = AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, config=config, dtype=dtype
            )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as exc:
        raise ModelUnreadableError(
            f"{file.name} cannot be read as a GGUF language model ({type(exc).__name__}: {exc}).",
            model=file.name,
        ) from exc
    # The weights are plain tensors by now; what is left of the quantizer makes saving refuse.
    if hasattr(model, "hf_quantizer"):
        del model.hf_quantizer
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    give_template(tokenizer)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target


@contextmanager
def _parsed_once() -> Iterator[None]:
    """Let ``transformers`` parse a file once.

    It makes a reader for the configuration and one for the weights, each of which parses the whole
    vocabulary in Python, and a table of tensor names for each module of the model: two thirds of
    the time of a conversion.
    """
    names = ("GGUFReader", "get_tensor_name_map")
    originals = {name: getattr(gguf, name) for name in names}
    for name, original in originals.items():
        setattr(gguf, name, cache(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(gguf, name, original)

"""GGUF files to ``transformers`` folders with safetensors."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workers.generation.chat_format import give_template
from workers.generation.loading import ModelUnreadableError


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
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=dtype)
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

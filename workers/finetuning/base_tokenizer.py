"""The base's tokenizer: without torch, for counting needs no weights."""

from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from workers.generation.chat_format import give_template
from workers.generation.errors import ModelUnreadableError, reason_of

# What transformers, PEFT and safetensors raise over a folder that is not what it should be: a
# header cut short, a word where a number belongs, an architecture that is not known.
UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError,
    StrictDataclassError,
)  # fmt: skip


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The base's tokenizer with a chat template and a padding token.

    Raises:
        ModelUnreadableError: the folder holds none that can be read.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except UNREADABLE as exc:
        raise unreadable(folder, exc) from exc
    give_template(tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def unreadable(folder: Path, exc: Exception) -> ModelUnreadableError:
    """The error of a base, or of an adapter over one, that cannot be loaded."""
    return ModelUnreadableError(
        f"The model in {folder.name} cannot be loaded ({reason_of(exc)}). A base is config.json, a "
        "tokenizer and safetensors of a causal language model that transformers knows.",
        model=folder.name,
    )

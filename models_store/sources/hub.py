"""Models from the Hugging Face hub: files only, never code, never pickles."""

import shutil
from pathlib import Path

import httpx2
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from models_store.errors import SourceUnavailableError

_PATTERNS = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md", "LICENSE"]


def download(repository: str, target: Path) -> Path:
    """Download a model repository into ``target``.

    Args:
        repository: ``owner/name``, with ``@revision`` for other than the newest.
        target: an empty folder.

    Raises:
        SourceUnavailableError: the hub is out of reach, or has no such repository for us, or the
            repository has no safetensors.
    """
    name, _, revision = repository.partition("@")
    try:
        snapshot_download(
            name, revision=revision or None, local_dir=target, allow_patterns=_PATTERNS
        )
    except GatedRepoError as exc:
        raise SourceUnavailableError(
            f"{name} is gated: accept its terms on the hub and set HF_TOKEN.", source=name
        ) from exc
    except RepositoryNotFoundError as exc:
        raise SourceUnavailableError(
            f"The hub has no model “{name}”; check the spelling.", source=name
        ) from exc
    except RevisionNotFoundError as exc:
        raise SourceUnavailableError(
            f"“{name}” has no revision “{revision}” on the hub.", source=name
        ) from exc
    except HFValidationError as exc:
        raise SourceUnavailableError(
            f"“{name}” is no name on the hub; use hf:<owner/name>[@revision].", source=name
        ) from exc
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as exc:
        is_away = isinstance(exc, LocalEntryNotFoundError | httpx2.HTTPError)
        why = "it does not answer" if is_away else type(exc).__name__
        raise SourceUnavailableError(
            f"“{name}” cannot be had from the hub: {why}. Is this machine online? "
            "A folder that was downloaded elsewhere can be added with path:<folder>.",
            source=name,
        ) from exc
    # What the client notes for the next download is no part of the model.
    shutil.rmtree(target / ".cache", ignore_errors=True)
    if not any(target.glob("*.safetensors")):
        raise SourceUnavailableError(
            f"“{name}” has no safetensors, only pickled weights, which can run code when they are "
            "read. Convert it elsewhere, or choose a revision that has safetensors.",
            source=name,
        )
    return target

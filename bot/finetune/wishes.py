"""What an admin may say about a run, and what is made of it."""

from dataclasses import dataclass
from typing import Any

import discord

from bot.finetune.downloading import Attached
from core.corpora.searches import SearchSpec

MOST_FILES = 5
_MOST_PROMPTS = 5
_PROMPT_CHARACTERS = 200
_PERCENT = 100


@dataclass(frozen=True)
class StartWishes:
    """The options of ``/finetune start``; None is “chosen for you”.

    Attributes:
        base: the name of a base model.
        method: ``lora`` or ``full``.
        epochs: passes over the corpus.
        learning_rate: its peak.
        block_size: tokens in a row.
        batch_size: rows of a step.
        validation_percent: of the documents, to be held back to judge by.
        validation_file: to judge by; then nothing is held back for that.
        patience: evaluations without progress before it ends early; 0 never does.
        seed: of everything that chance decides.
        prompts: asked before and after.
        search: of the best options, instead of a single run.
    """

    base: str | None = None
    method: str | None = None
    epochs: float | None = None
    learning_rate: float | None = None
    block_size: int | None = None
    batch_size: int | None = None
    validation_percent: int | None = None
    validation_file: discord.Attachment | None = None
    patience: int | None = None
    seed: int | None = None
    prompts: str | None = None
    search: SearchSpec | None = None

    @property
    def run_options(self) -> dict[str, Any]:
        """What was wished, as the trainer knows it; the rest are its own defaults."""
        wished = {
            "epochs": self.epochs,
            "learning_rate": self.learning_rate,
            "block_size": self.block_size,
            "batch_size": self.batch_size,
            "patience": self.patience,
        }
        return {
            "method": self.method or "lora",
            "seed": self.seed or 0,
            "sample_prompts": split_prompts(self.prompts or ""),
            **{option: value for option, value in wished.items() if value is not None},
        }

    @property
    def validation_share(self) -> float | None:
        """The share of the documents that is held back to judge by."""
        return None if self.validation_percent is None else self.validation_percent / _PERCENT

    def attach(self, files: list[discord.Attachment]) -> tuple[Attached, ...]:
        """All files to be taken in."""
        learnt = [Attached(file.filename, file.url, file.size) for file in files]
        judged = self.validation_file
        if judged is None:
            return tuple(learnt)
        return (*learnt, Attached(judged.filename, judged.url, judged.size, is_validation=True))


def split_prompts(given: str) -> list[str]:
    """What to ask at each evaluation: the parts between vertical bars or line ends."""
    parts = (
        " ".join(part.split())[:_PROMPT_CHARACTERS] for part in given.replace("\n", "|").split("|")
    )
    return [part for part in parts if part][:_MOST_PROMPTS]

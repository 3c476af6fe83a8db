"""The model, the tokenizer and the corpus that all variants of the benchmark share."""

import json
import re
import sysconfig
from dataclasses import asdict, dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from workers.finetuning.corpus.prepared import split_path
from workers.finetuning.corpus.splitting import Split

PLAN_FILE = "plan.json"
_GPT2_VOCABULARY = 50_257
_LEARNT_VOCABULARY = 8_000
_VALIDATION_SHARE = 20
_TOKENS_A_STEP = 512
_END = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of one contender's steps and of its run.

    Attributes:
        block, batch: tokens in a row and rows in a step.
        tokens: that it learns from, whatever its steps.
        warmup_tokens: before the clock starts.
    """

    block: int
    batch: int
    tokens: int
    warmup_tokens: int

    @property
    def steps(self) -> int:
        """Optimizer steps of a run whose rows are full."""
        return max(1, self.tokens // (self.block * self.batch))


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What is measured, and on what.

    Attributes:
        device: ``cpu`` or ``cuda``.
        layers: of the model; 12 is GPT-2 124M.
        classic: the tutorials' settings.
        ours: as many tokens a step and a run as the classic ones, so that losses compare.
        large: of a GPU's own steps, which leave none of its units idle; else None.
        compile: as the trainer's option, for large steps.
        turns: into which each contender's tokens are parted, so that they can alternate.
        evaluation_rows: that losses are measured on.
        source_characters: of Python's library that are added to the prose.
    """

    device: str
    layers: int
    classic: Sizes
    ours: Sizes
    large: Sizes | None
    compile: str
    turns: int = 1
    evaluation_rows: int = 16
    source_characters: int = 0

    @classmethod
    def choose(cls, *, quick: bool, has_gpu: bool) -> "BenchPlan":
        """The sizes for this machine."""
        if has_gpu:
            tokens = 205_000 if quick else 1_000_000
            classic = Sizes(128, 4, tokens, tokens // 5)
            large = Sizes(1024, 64, 5_000_000 if quick else 20_000_000, 2_500_000)
            ours = Sizes(512, 1, tokens, tokens // 5)
            return cls("cuda", 12, classic, ours, large, compile="yes", source_characters=4_000_000)
        return cls.on_cpu(2) if quick else cls.on_cpu(12, turns=8, steps_a_turn=2, judged=16)

    @classmethod
    def on_cpu(
        cls, layers: int, *, turns: int = 4, steps_a_turn: int = 1, judged: int = 2
    ) -> "BenchPlan":
        """A run on the CPU with so many layers; its first turn warms up.

        Args:
            layers: of the model.
            turns: of each contender.
            steps_a_turn: of the classic settings.
            judged: rows that losses are measured on.
        """
        a_turn = steps_a_turn * _TOKENS_A_STEP
        classic = Sizes(128, 4, turns * a_turn, a_turn)
        ours = Sizes(512, 1, turns * a_turn, a_turn)
        return cls(
            "cpu", layers, classic, ours, None, compile="auto", turns=turns, evaluation_rows=judged
        )

    @classmethod
    def rehearse(cls) -> "BenchPlan":
        """A GPU's plan in a shape that a CPU carries out in a minute; its figures mean nothing."""
        classic, ours = Sizes(32, 2, 1024, 256), Sizes(64, 1, 1024, 256)
        return cls("cpu", 1, classic, ours, Sizes(64, 4, 4096, 1024), compile="auto")

    @classmethod
    def read(cls, folder: Path) -> "BenchPlan":
        """The plan that :func:`write_inputs` left."""
        values = json.loads((folder / PLAN_FILE).read_text("utf-8"))
        sizes = {
            name: values[name] and Sizes(**values[name]) for name in ("classic", "ours", "large")
        }
        return cls(**{**values, **sizes})


def write_inputs(folder: Path, plan: BenchPlan) -> None:
    """Put plan, base model and prepared corpus into ``folder``."""
    (folder / PLAN_FILE).write_text(json.dumps(asdict(plan)), "utf-8")
    texts = paragraphs()
    tokenizer = _train_tokenizer(texts)
    texts += source_paragraphs(plan.source_characters)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=_GPT2_VOCABULARY, n_layer=plan.layers, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    (folder / "corpus").mkdir()
    held_back = [text for i, text in enumerate(texts) if i % _VALIDATION_SHARE == 0]
    learnt = [text for i, text in enumerate(texts) if i % _VALIDATION_SHARE]
    for split, chosen in ((Split.TRAIN, learnt), (Split.VALIDATION, held_back)):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in chosen)
        split_path(folder / "corpus", split).write_text(lines, "utf-8")


def paragraphs() -> list[str]:
    """Python's own prose about itself: some 6,000 paragraphs of very different lengths."""
    parts = (part for _, text in sorted(topics.items()) for part in re.split(r"\n\s*\n", text))
    return [" ".join(part.split()) for part in parts if len(part.split()) > 3]


def source_paragraphs(characters: int) -> list[str]:
    """The beginning of Python's library, parted at its empty lines."""
    found: list[str] = []
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.glob("*.py")) if characters else ():
        text = path.read_text("utf-8", errors="replace")
        parts = [part.strip() for part in re.split(r"\n\s*\n", text)]
        kept = [part for part in parts if len(part.split()) > 3]
        found += kept
        characters -= sum(map(len, kept))
        if characters <= 0:
            break
    return found


def _train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_LEARNT_VOCABULARY,
        special_tokens=[_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    make: Any = PreTrainedTokenizerFast
    wrapped: PreTrainedTokenizerFast = make(tokenizer_object=tokenizer, eos_token=_END)
    return wrapped

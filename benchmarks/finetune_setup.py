"""The model, the tokenizer and the corpus that all variants of the benchmark share."""

import json
import re
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
_END = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """Sizes of a run.

    Attributes:
        layers: of the model; 12 is GPT-2 124M.
        classic_block, classic_batch: the tutorials' settings.
        our_block, our_batch, our_micro_batch: ours.
        tokens: that every variant learns from, whatever its steps.
        warmup_tokens: before the clock starts.
        compile: whether ours is compiled.
    """

    layers: int
    classic_block: int
    classic_batch: int
    our_block: int
    our_batch: int
    our_micro_batch: int
    tokens: int
    warmup_tokens: int
    compile: bool

    @classmethod
    def choose(cls, *, quick: bool, has_gpu: bool) -> "BenchPlan":
        """The sizes for this machine."""
        if has_gpu:
            tokens = 1_000_000 if quick else 6_000_000
            return cls(12, 128, 4, 1024, 32, 32, tokens, tokens // 4, compile=True)
        if quick:
            return cls(2, 128, 4, 512, 1, 1, 4096, 1536, compile=False)
        return cls(12, 128, 4, 512, 1, 1, 20_480, 4096, compile=True)

    @classmethod
    def read(cls, folder: Path) -> "BenchPlan":
        """The plan that :func:`write_inputs` left."""
        return cls(**json.loads((folder / PLAN_FILE).read_text("utf-8")))


def write_inputs(folder: Path, plan: BenchPlan) -> None:
    """Put plan, base model and prepared corpus into ``folder``."""
    (folder / PLAN_FILE).write_text(json.dumps(asdict(plan)), "utf-8")
    texts = paragraphs()
    tokenizer = _train_tokenizer(texts)
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

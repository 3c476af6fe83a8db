"""A base for training from scratch: the shape and tokenizer of another one, or new ones."""

import fcntl
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PretrainedConfig, PreTrainedTokenizerBase

from workers.finetuning.base_tokenizer import load_tokenizer, unreadable
from workers.finetuning.checkpoints import publish_folder
from workers.finetuning.corpus.documents import PlainText
from workers.finetuning.corpus.prepared import read_split
from workers.finetuning.corpus.splitting import Split
from workers.finetuning.errors import SpecError
from workers.finetuning.spec import RunSpec

_FRESH = "fresh"


def with_fresh_base(spec: RunSpec, run_dir: Path) -> RunSpec:
    """The spec over a base of the wanted shape and vocabulary, which is made once for each run.

    The folder has a configuration and a tokenizer; weights come from the seed.

    Raises:
        SpecError: the shape is none that the base's family can have.
        ModelUnreadableError: the base cannot be read.
    """
    if not (spec.vocabulary_size or spec.layers or spec.heads or spec.width):
        return spec
    folder = run_dir / _FRESH
    # The processes of a run come here all at once; one makes the base, the others wait for it.
    with (run_dir / f"{_FRESH}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            part = run_dir / f"{_FRESH}.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            _write(spec, part)
            publish_folder(part, folder)
    return replace(spec, base_model=str(folder), base_name=spec.base_name or _name(spec))


def _name(spec: RunSpec) -> str:
    return Path(spec.base_model).name


def _write(spec: RunSpec, folder: Path) -> None:
    base = Path(spec.base_model)
    tokenizer = load_tokenizer(base)
    try:
        config = AutoConfig.from_pretrained(base, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError) as exc:
        raise unreadable(base, exc) from exc
    if spec.vocabulary_size:
        tokenizer = _train_tokenizer(tokenizer, spec)
        _set_vocabulary(config, tokenizer)
    _reshape(config, spec).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _train_tokenizer(base: PreTrainedTokenizerBase, spec: RunSpec) -> PreTrainedTokenizerBase:
    """One of the base's kind and special tokens, its other tokens learnt from the corpus."""
    untyped: Any = base
    fresh: PreTrainedTokenizerBase = untyped.train_new_from_iterator(
        _texts(Path(spec.corpus)), spec.vocabulary_size, show_progress=False
    )
    fresh.chat_template = base.chat_template
    return fresh


def _texts(corpus: Path) -> Iterator[str]:
    for example in read_split(corpus, Split.TRAIN):
        if isinstance(example, PlainText):
            yield example.text
        else:
            yield from (turn.text for turn in example.turns)


def _set_vocabulary(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    untyped: Any = config
    untyped.vocab_size = len(tokenizer)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(untyped, name, getattr(tokenizer, name))


def _reshape(config: PretrainedConfig, spec: RunSpec) -> PretrainedConfig:
    """The configuration with the spec's layers, heads and width."""
    names = config.attribute_map
    layers, heads, width = (
        names.get(name, name)
        for name in ("num_hidden_layers", "num_attention_heads", "hidden_size")
    )
    values = config.to_dict()
    before = {name: values[name] for name in (layers, heads, width)}
    wanted = {layers: spec.layers, heads: spec.heads, width: spec.width}
    values |= {name: value for name, value in wanted.items() if value}
    if values[width] % values[heads]:
        raise SpecError(
            f"A width of {values[width]} does not part into {values[heads]} heads.", option="width"
        )
    # What follows from the shape; kept as it was, it would contradict it.
    values.pop("layer_types", None)
    if values.get("head_dim"):
        values["head_dim"] = values[width] // values[heads]
    if values.get("num_key_value_heads"):
        values["num_key_value_heads"] = math.gcd(values["num_key_value_heads"], values[heads])
    if values.get("intermediate_size"):
        values["intermediate_size"] = values["intermediate_size"] * values[width] // before[width]
    untyped: Any = type(config)
    reshaped: PretrainedConfig = untyped.from_dict(values)
    return reshaped

"""Everything that decides a run, as one JSON file that any machine can repeat it from."""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from workers.finetuning.errors import SpecError

SPEC_FILE = "spec.json"
Method = Literal["lora", "full"]
_CHOICES = {
    "method": ("lora", "full"),
    "schedule": ("cosine", "linear", "constant"),
    "dtype": ("auto", "float32", "bfloat16", "float16"),
    "compile": ("auto", "yes", "no"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """The options of one fine-tune. Zero means “chosen for you” wherever it is the default.

    Attributes:
        base_model: folder of the base, in ``transformers``' layout.
        corpus: folder of the prepared corpus.
        base_name: what the model card and the adapter call the base; the folder's name if empty.
        run_name: what the new model is called.
        persona: the system turn of conversations that have none. What the bot will be told when
            it answers belongs here, so that it learns under the words it will meet.
        adapter: folder of a LoRA adapter over the base to go on with: ``lora`` trains it further,
            ``full`` merges it into the weights first.
        from_scratch: keep the base's shape and tokenizer only, with fresh weights; needs ``full``.
        vocabulary_size: train a new tokenizer of this size on the corpus; needs ``from_scratch``.
        layers, heads, width: the shape in place of the base's; needs ``from_scratch``.
        method: ``lora`` trains a small adapter, ``full`` all weights.
        epochs: passes over the training split; ``max_steps`` overrides it. Three,
            and more of a small corpus, see :func:`workers.finetuning.plan.make_plan`.
        max_steps: optimizer steps.
        learning_rate: peak, see :func:`workers.finetuning.plan.choose_learning_rate`.
        schedule: course of the learning rate behind the warm-up.
        warmup_share: share of the steps in which the rate rises; ``warmup_steps`` overrides it.
        block_size: tokens in a packed row; up to 512, never more than the base can see.
        batch_size: rows of an optimizer step; chosen so that an epoch has some twenty steps.
        micro_batch_size: rows at a time; halved by itself where memory runs out.
        accumulation: micro-batches of an optimizer step, in place of ``batch_size``.
        dropout: of the base's layers while it learns, their attention aside. None by default, as
            in the code that GPT-2 was released with; 0.1 is what it has in ``transformers``.
        frozen_layers: lower layers that stay as they are, with their embeddings (``full`` only).
        lora_rank, lora_alpha, lora_dropout, lora_targets: as PEFT has them.
        gradient_checkpointing: trades a third more time for far less memory.
        compile: ``torch.compile`` for the layers: ``yes``, ``no``, or ``auto``, where the run is
            long enough on a GPU.
        evaluate_every: steps between evaluations; a tenth of the run, more where that is short.
        save_every: steps between checkpoints; with each evaluation by default.
        save_total_limit: checkpoints kept, the best one among them.
        patience: evaluations without progress before the run stops early; 0 never does.
        sample_prompts: what is asked at each evaluation; taken from the corpus if empty.
        sample_prefixes: texts to go on with, asked beside the prompts.
        sample_every: steps between samples; with each evaluation by default.
        sample_max_new_tokens: length of those answers.
        seed: of data order, initialisation and samples.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
        dtype: of the products; ``auto`` is bf16 where the device has it (a CPU from some size of
            the model on), fp16 on other GPUs, float32 on other CPUs.
        torch_threads: on the CPU; 0 leaves torch's choice.
        processes: that train together on one device each; one by default. See
            :mod:`workers.finetuning.parallel`.
        tensorboard_dir: gets TensorBoard's event files; none are written if empty.
        max_evaluation_rows: of validation and test each, so that evaluating stays cheap.
    """

    base_model: str
    corpus: str
    base_name: str = ""
    run_name: str = "perroquet"
    persona: str = ""
    adapter: str = ""
    from_scratch: bool = False
    vocabulary_size: int = 0
    layers: int = 0
    heads: int = 0
    width: int = 0
    method: Method = "lora"
    epochs: float = 0.0
    max_steps: int = 0
    learning_rate: float = 0.0
    schedule: str = "cosine"
    warmup_share: float = 0.05
    warmup_steps: int = 0
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    block_size: int = 0
    batch_size: int = 0
    micro_batch_size: int = 0
    accumulation: int = 0
    dropout: float = 0.0
    frozen_layers: int = 0
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    lora_targets: str = "all-linear"
    gradient_checkpointing: bool = False
    compile: str = "auto"
    evaluate_every: int = 0
    save_every: int = 0
    save_total_limit: int = 3
    patience: int = 3
    sample_prompts: tuple[str, ...] = ()
    sample_prefixes: tuple[str, ...] = ()
    sample_every: int = 0
    sample_max_new_tokens: int = 48
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    torch_threads: int = 0
    processes: int = 1
    tensorboard_dir: str = ""
    max_evaluation_rows: int = 200

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def is_whole(cls, option: str) -> bool:
        """Whether an option takes whole numbers alone."""
        return option in _WHOLE

    def write(self, run_dir: Path) -> None:
        """Put the spec where ``python -m workers.finetuning.run`` looks for it."""
        run_dir.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (run_dir / SPEC_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, run_dir: Path) -> "RunSpec":
        """The spec of a run folder.

        Raises:
            SpecError: there is none, or an option is unknown or out of range.
        """
        try:
            values = json.loads((run_dir / SPEC_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            raise SpecError(f"{SPEC_FILE} cannot be read: {exc}.", option=SPEC_FILE) from exc
        return cls.from_json(values)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "RunSpec":
        """The spec that a JSON object describes.

        Raises:
            SpecError: an option is unknown, missing or out of range.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise SpecError(f"There is no training option “{unknown[0]}”.", option=unknown[0])
        missing = [name for name in ("base_model", "corpus") if name not in values]
        if missing:
            raise SpecError(f"The training option “{missing[0]}” is missing.", option=missing[0])
        texts = {name: _texts(name, values.get(name, ())) for name in _TEXTS}
        return cls(**{**values, **texts})


def _texts(option: str, values: Any) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(one, str) for one in values):
        raise SpecError(f"“{option}” must be a list of texts.", option=option)
    return tuple(values)


def _check(spec: RunSpec) -> None:
    for option, choices in _CHOICES.items():
        if getattr(spec, option) not in choices:
            raise SpecError(f"“{option}” must be one of {', '.join(choices)}.", option=option)
    for option, (least, most) in _RANGES.items():
        value = getattr(spec, option)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise SpecError(f"“{option}” must be a number.", option=option)
        if option in _WHOLE and not isinstance(value, int):
            raise SpecError(f"“{option}” must be a whole number.", option=option)
        if not least <= value <= most:
            raise SpecError(f"“{option}” must lie between {least} and {most}.", option=option)
    _check_contradictions(spec)


def _check_contradictions(spec: RunSpec) -> None:
    if spec.from_scratch and spec.method != "full":
        raise SpecError("Training from scratch needs the method “full”.", option="from_scratch")
    if spec.from_scratch and spec.adapter:
        raise SpecError("Fresh weights have no adapter to go on with.", option="from_scratch")
    if 0 < spec.vocabulary_size < _MIN_VOCABULARY:
        raise SpecError(
            f"“vocabulary_size” must be 0 or at least {_MIN_VOCABULARY}.", option="vocabulary_size"
        )
    for option in _OF_FRESH_WEIGHTS:
        if getattr(spec, option) and not spec.from_scratch:
            raise SpecError(f"“{option}” needs training from scratch.", option=option)
    if spec.accumulation and spec.batch_size:
        raise SpecError("Give “accumulation” or “batch_size”, not both.", option="accumulation")


_TEXTS = ("sample_prompts", "sample_prefixes")
_OF_FRESH_WEIGHTS = ("vocabulary_size", "layers", "heads", "width")
# The least is what a byte-level tokenizer needs: one token a byte, and the special ones.
_MIN_VOCABULARY = 260
_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (0, 1000),
    "max_steps": (0, 10_000_000),
    "learning_rate": (0, 1),
    "warmup_share": (0, 1),
    "warmup_steps": (0, 10_000_000),
    "weight_decay": (0, 10),
    "max_grad_norm": (0, 1000),
    "block_size": (0, 131_072),
    "batch_size": (0, 65_536),
    "micro_batch_size": (0, 65_536),
    "accumulation": (0, 65_536),
    "frozen_layers": (0, 1000),
    "vocabulary_size": (0, 1_000_000),
    "layers": (0, 1000),
    "heads": (0, 1000),
    "width": (0, 65_536),
    "lora_rank": (1, 1024),
    "lora_alpha": (1, 4096),
    "lora_dropout": (0, 0.9),
    "dropout": (0, 0.9),
    "evaluate_every": (0, 10_000_000),
    "save_every": (0, 10_000_000),
    "save_total_limit": (1, 1000),
    "patience": (0, 1000),
    "sample_every": (0, 10_000_000),
    "sample_max_new_tokens": (1, 1024),
    "seed": (0, 2**32 - 1),
    "torch_threads": (0, 1024),
    "processes": (1, 1024),
    "max_evaluation_rows": (1, 1_000_000),
}
_WHOLE = frozenset(field.name for field in fields(RunSpec) if field.type is int)

"""The result of a run as an ordinary folder: any other tool loads it and needs nothing of ours."""

import json
import shutil
from pathlib import Path
from typing import Any

import structlog
from transformers import GenerationConfig

from workers.finetuning.bases import Trainee
from workers.finetuning.checkpoints import publish_folder
from workers.finetuning.spec import RunSpec

log = structlog.get_logger(__name__)

PUBLISHED = "published"
METRICS = "metrics.json"


def publish(run_dir: Path, trainee: Trainee, spec: RunSpec, metrics: dict[str, Any]) -> Path:
    """Write ``<run_dir>/published``, whole or not at all.

    A LoRA run gives a PEFT adapter folder over the named base, a full run a ``transformers``
    folder; both with tokenizer, chat template, model card and ``metrics.json``.
    """
    part = run_dir / f"{PUBLISHED}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    if spec.method == "lora":
        # The embeddings do not train, and PEFT would ask the hub whether they grew.
        trainee.model.save_pretrained(part, save_embedding_layers=False)
    else:
        _save_whole(trainee, part)
    trainee.tokenizer.save_pretrained(part)
    (part / METRICS).write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (part / "README.md").write_text(model_card(spec, metrics), "utf-8")
    final = run_dir / PUBLISHED
    publish_folder(part, final)
    return final


def _save_whole(trainee: Trainee, part: Path) -> None:
    model: Any = trainee.causal
    try:
        model.save_pretrained(part)
    except ValueError:
        # Some published bases carry sampling defaults that newer releases refuse to write.
        log.warning("generation_config_reset")
        make: Any = GenerationConfig
        model.generation_config = make(
            bos_token_id=trainee.tokenizer.bos_token_id,
            eos_token_id=trainee.tokenizer.eos_token_id,
            pad_token_id=trainee.tokenizer.pad_token_id,
        )
        model.save_pretrained(part)


def model_card(spec: RunSpec, metrics: dict[str, Any]) -> str:
    """The model card: Markdown behind the metadata that the hub reads."""
    library = "peft" if spec.method == "lora" else "transformers"
    base = spec.base_name or Path(spec.base_model).name
    lines = [
        "---",
        f"base_model: {json.dumps(base, ensure_ascii=False)}",
        f"library_name: {library}",
        "pipeline_tag: text-generation",
        "tags: [perroquet, " + ("lora]" if spec.method == "lora" else "full-fine-tune]"),
        "---",
        "",
        f"# {spec.run_name}",
        "",
        f"{base}, fine-tuned with Perroquet ({spec.method}, seed {spec.seed}).",
        "",
        "| perplexity | base | this model |",
        "| --- | --- | --- |",
        *(_row(split, metrics) for split in ("validation", "test")),
        "",
        f"Trained for {metrics['steps']} steps ({metrics['train_tokens']} tokens a pass) in "
        f"{metrics['train_seconds']:.0f} s; the weights are those of step {metrics['step']}.",
        "",
        f"Corpus: SHA-256 `{metrics['corpus_sha256']}`.",
        "",
    ]
    return "\n".join(lines)


def _row(split: str, metrics: dict[str, Any]) -> str:
    cells = [metrics[side].get(split) for side in ("base", "tuned")]
    texts = [f"{cell['perplexity']:.2f}" if _has_perplexity(cell) else "–" for cell in cells]
    return f"| {split} | {texts[0]} | {texts[1]} |"


def _has_perplexity(cell: dict[str, Any] | None) -> bool:
    return bool(cell) and cell is not None and cell["perplexity"] is not None

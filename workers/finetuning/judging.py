"""What is said of a model before and after training: likelihood, samples and their variety."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from workers.finetuning.bases import Trainee
from workers.finetuning.data import PackedSplits
from workers.finetuning.evaluation import Likelihood, measure_likelihood, measure_variety
from workers.finetuning.packing import PackedRows
from workers.finetuning.samples import Prompt, generate_samples
from workers.finetuning.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges one trainee on fixed splits and prompts, so that figures can be compared.

    Attributes:
        trainee: the model in whatever state it is.
        splits: what it is measured on.
        prompts: what it is asked.
        spec: length and seed of the samples.
        rows_at_a_time: rows in one forward pass.
    """

    trainee: Trainee
    splits: PackedSplits
    prompts: list[Prompt]
    spec: RunSpec
    rows_at_a_time: int
    _said: dict[int, list[dict[str, str]]] = field(default_factory=dict, init=False)

    def likelihood(
        self,
        rows: PackedRows,
        model: nn.Module | None = None,
        on_rows: Callable[[int], None] = lambda _rows: None,
    ) -> Likelihood:
        """Loss over some rows, in the precision of training."""
        return measure_likelihood(
            model or self.trainee.model,
            rows,
            device=self.trainee.device,
            rows_at_a_time=self.rows_at_a_time,
            autocast=self.trainee.autocast,
            on_rows=on_rows,
        )

    def validate(self, model: nn.Module) -> Likelihood:
        """Loss over the validation rows."""
        return self.likelihood(self.splits.validation, model)

    def sample(self, step: int) -> list[dict[str, str]]:
        """Each prompt with what the model says after a step; it is asked once for each step."""
        if step not in self._said:
            self._said[step] = self._ask()
        return self._said[step]

    def _ask(self) -> list[dict[str, str]]:
        texts = generate_samples(
            self.trainee.model,
            self.trainee.tokenizer,
            self.prompts,
            max_new_tokens=self.spec.sample_max_new_tokens,
            seed=self.spec.seed,
            device=self.trainee.device,
        )
        return [
            {"prompt": prompt.text, "text": text}
            for prompt, text in zip(self.prompts, texts, strict=True)
        ]

    def judge(
        self, step: int, on_tokens: Callable[[int, int], None] = lambda _done, _all: None
    ) -> dict[str, Any]:
        """All figures of the model, which is as it was after a step, as JSON values. ``on_tokens``
        hears how many tokens of how many are measured."""
        samples = self.sample(step)
        variety = measure_variety([sample["text"] for sample in samples])
        figures: dict[str, Any] = {"samples": samples}
        done, all_tokens = 0, self.splits.validation.real_tokens + self.splits.test.real_tokens
        for name in ("validation", "test"):
            rows: PackedRows = getattr(self.splits, name)
            if len(rows):
                share, before = rows.real_tokens / len(rows), done

                def tell(count: int, share: float = share, before: int = before) -> None:
                    on_tokens(before + round(count * share), all_tokens)

                found = self.likelihood(rows, on_rows=tell)
                done += rows.real_tokens
                figures[name] = {
                    "loss": found.loss,
                    "perplexity": found.perplexity,
                    "tokens": found.tokens,
                }
        figures["distinct_1"] = round(variety.distinct_1, 4)
        figures["distinct_2"] = round(variety.distinct_2, 4)
        figures["repetition"] = round(variety.repetition, 4)
        return figures

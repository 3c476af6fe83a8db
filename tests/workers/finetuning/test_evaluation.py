import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from workers.finetuning.base_tokenizer import load_tokenizer
from workers.finetuning.corpus.documents import PlainText
from workers.finetuning.encoding import Encoded, ExampleEncoder
from workers.finetuning.errors import OutOfMemoryError
from workers.finetuning.evaluation import Likelihood, measure_likelihood, measure_variety
from workers.finetuning.heads import attach_summed_loss
from workers.finetuning.packing import pack


def test_perplexity_weighs_tokens_not_rows(tiny_gpt2_folder):
    tokenizer = load_tokenizer(tiny_gpt2_folder)
    texts = ["Hi.", "The parrot says hello to everybody in the channel, and so on and on."]
    encoder = ExampleEncoder(tokenizer, 64)
    rows = pack((e for t in texts for e in encoder.encode(PlainText(t))), 64, 0)
    model = AutoModelForCausalLM.from_pretrained(tiny_gpt2_folder).eval()
    total, tokens = 0.0, 0
    for text in texts:
        ids = torch.tensor([[*tokenizer(text).input_ids, tokenizer.eos_token_id]])
        with torch.no_grad():
            total += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    attach_summed_loss(model)
    for rows_at_a_time in (1, 4):
        measured: list[int] = []
        found = measure_likelihood(
            model, rows, device=torch.device("cpu"), rows_at_a_time=rows_at_a_time,
            on_rows=measured.append,
        )  # fmt: skip
        assert measured == sorted(set(measured))
        assert measured[-1] == len(rows)
        assert found.tokens == tokens
        assert found.loss == pytest.approx(total / tokens, rel=1e-5)
        assert found.perplexity == pytest.approx(math.exp(total / tokens), rel=1e-4)


def test_measuring_leaves_the_mode_as_it_was(tiny_gpt2_folder):
    model = AutoModelForCausalLM.from_pretrained(tiny_gpt2_folder).train()
    attach_summed_loss(model)
    rows = pack([], 8, 0)
    found = measure_likelihood(model, rows, device=torch.device("cpu"), rows_at_a_time=2)
    assert model.training
    assert math.isnan(found.loss)


class SmallDevice(torch.nn.Module):
    """Sums what it is given, and holds only so many rows."""

    def __init__(self, holds):
        super().__init__()
        self.holds, self.seen = holds, []

    def forward(self, labels, documents, **_):
        self.seen.append(len(documents))
        if len(documents) > self.holds:
            raise torch.OutOfMemoryError
        return SimpleNamespace(loss=labels.sum())


def some_rows(count):
    ids = np.arange(8, dtype=np.int32)
    return pack([Encoded(ids + number, ids + number) for number in range(count)], 8, 0)


def test_measuring_goes_on_with_fewer_rows_where_memory_runs_out():
    rows, device = some_rows(7), torch.device("cpu")
    expected = measure_likelihood(SmallDevice(7), rows, device=device, rows_at_a_time=7)
    model = SmallDevice(3).train()
    assert measure_likelihood(model, rows, device=device, rows_at_a_time=6) == expected
    assert model.seen == [6, 3, 3, 1]
    assert model.training


def test_where_not_one_row_fits_it_is_said():
    model = SmallDevice(0)
    with pytest.raises(OutOfMemoryError):
        measure_likelihood(model, some_rows(3), device=torch.device("cpu"), rows_at_a_time=2)
    assert model.training


def test_a_perplexity_beyond_floats_is_infinite():
    assert Likelihood(800.0, 3).perplexity == math.inf


def test_variety_of_texts():
    same = measure_variety(["a b c d a b c d a b c d"])
    assert same.distinct_1 == pytest.approx(4 / 12)
    assert same.distinct_2 == pytest.approx(4 / 11)
    assert same.repetition == pytest.approx(1 - 4 / 9)
    assert measure_variety(["a b c d e f"]).repetition == 0
    assert measure_variety(["one two", "three four"]).distinct_1 == 1
    empty = measure_variety(["", "a"])
    assert (empty.distinct_2, empty.repetition) == (0, 0)

import random

import pytest
import torch

from workers.generation.attention import KeyValueCache, PackedBatch, PackedSpan
from workers.generation.processor import batch as batches
from workers.generation.processor.batch import ProcessorBatch
from workers.generation.processor.linears import NeededRows

SIZE, LAYERS = 16, 2


def states(rows, heads, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, heads, rows, SIZE, generator=generator)


def steps(seed):
    """Lengths of the spans of some steps of three sequences, prompts first."""
    dice = random.Random(seed)  # noqa: S311
    yield [dice.randint(1, 9) for _ in range(3)]
    for _ in range(4):
        yield [dice.choice([1, 1, 1, 5]) for _ in range(3)]


def run(new_batch, seed, heads, kv_heads, dtype=torch.float32):
    """What all steps give, sequences shuffled as an adapter's order would."""
    caches, ends = [KeyValueCache(dtype=dtype) for _ in range(3)], [0, 0, 0]
    outputs = []
    for number, lengths in enumerate(steps(seed)):
        spans, start = [], 0
        for sequence in random.Random(seed + number).sample(range(3), 3):  # noqa: S311
            length = lengths[sequence]
            caches[sequence].reserve(ends[sequence] + length)
            spans.append(PackedSpan(caches[sequence], start, start + length, ends[sequence]))
            start, ends[sequence] = start + length, ends[sequence] + length
        batch = new_batch(spans)
        for layer in range(LAYERS):
            seeds = range(100 * number + layer, 100 * number + 90, 30)
            parts = zip((heads, kv_heads, kv_heads), seeds, strict=True)
            outputs.append(batch.attend(layer, *(states(start, h, s) for h, s in parts), None))
    return outputs


def compiled(dtype):
    needed = torch.tensor([], dtype=torch.long)
    return lambda spans: ProcessorBatch(
        spans, needed, cache_dtype=dtype, rows=None, last_layer=LAYERS - 1
    )


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2)], ids=["own", "shared"])
def test_any_mix_attends_as_pytorch_attends(heads, kv_heads, seed, threads, monkeypatch):
    monkeypatch.setattr(batches, "thread_count", lambda: threads)
    monkeypatch.setattr(batches, "_NUMBERS_PER_THREAD", 64)
    wanted = run(PackedBatch, seed, heads, kv_heads)
    seen = run(compiled(torch.float32), seed, heads, kv_heads)
    for one, other in zip(seen, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_keys_and_values_in_half_the_memory_change_little():
    wanted = run(PackedBatch, 1, 4, 4)
    seen = run(compiled(torch.float16), 1, 4, 4, torch.float16)
    for one, other in zip(seen, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=5e-3, rtol=5e-3)


def test_only_behind_the_last_layers_attention_are_some_rows_enough():
    rows, needed = NeededRows(), torch.tensor([2])
    spans = [PackedSpan(KeyValueCache(8), 0, 3, 0)]
    batch = ProcessorBatch(
        spans, needed, cache_dtype=torch.float32, rows=rows, last_layer=LAYERS - 1
    )
    parts = [states(3, 2, seed) for seed in range(3)]
    batch.attend(0, *parts, None)
    assert rows.among(3) is None
    batch.attend(1, *parts, None)
    assert rows.among(3) is needed
    # Rows of the output layer are others, and the next step begins anew, even after a failure.
    assert rows.among(1) is None
    ProcessorBatch(spans, needed, cache_dtype=torch.float32, rows=rows, last_layer=1)
    assert rows.among(3) is None

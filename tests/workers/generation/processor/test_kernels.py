import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from workers.generation.processor import kernels

LIKE = {torch.float32: np.empty(0, np.float32), torch.float16: np.empty(0, np.int16)}
ROOM = 40


def states(rows, heads, size, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, heads, size, generator=generator)


class Caches:
    """Keys and values of some sequences, with random contents."""

    def __init__(self, ends, heads, sizes, dtype):
        self.keys, self.values = (
            [states(heads, ROOM, size, n + size).to(dtype) for n in range(len(ends))]
            for size in sizes
        )
        pairs = zip(self.keys, self.values, strict=True)
        self.places = np.array([(k.data_ptr(), v.data_ptr(), ROOM) for k, v in pairs])
        self.positions = np.array(ends) - 1

    def attend(self, query, key, value, scaling=0.125, parts=1):
        rows = np.arange(len(self.keys))
        output = torch.zeros(len(rows), query.shape[1], value.shape[2])
        count = len(rows) * key.shape[1]
        bounds = [count * part // parts for part in range(parts + 1)]
        kernels.attend(
            bounds, rows, self.positions,
            *(part.numpy() for part in (query, key, value, output)),
            self.places, np.float32(scaling), LIKE[self.keys[0].dtype],
        )  # fmt: skip
        return output


def expected(caches, query, scaling=0.125):
    outputs = []
    for n, position in enumerate(caches.positions):
        keys, values = (
            part[n][None, :, : position + 1].float() for part in (caches.keys, caches.values)
        )
        outputs.append(
            scaled_dot_product_attention(
                query[n, None, :, None], keys, values, scale=scaling, enable_gqa=True
            )[0, :, 0]
        )
    return torch.stack(outputs)


@pytest.mark.parametrize("dtype", list(LIKE))
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2)], ids=["own", "shared"])
def test_each_token_attends_to_all_of_its_own_sequence(heads, kv_heads, dtype):
    caches = Caches([1, 7, ROOM], kv_heads, (16, 24), dtype)
    query = states(3, heads, 16, 1)
    key, value = states(3, kv_heads, 16, 2), states(3, kv_heads, 24, 3)
    seen = caches.attend(query, key, value)
    torch.testing.assert_close(seen, expected(caches, query), atol=2e-6, rtol=1e-5)
    for n, position in enumerate(caches.positions):
        torch.testing.assert_close(caches.keys[n][:, position], key[n].to(dtype))
        torch.testing.assert_close(caches.values[n][:, position], value[n].to(dtype))


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_however_the_heads_are_parted_each_gives_the_same(parts):
    rows = states(3, 2, 16, 1), states(3, 2, 16, 2), states(3, 2, 16, 3)
    whole, parted = (Caches([1, 7, ROOM], 2, (16, 16), torch.float32) for _ in range(2))
    assert torch.equal(whole.attend(*rows), parted.attend(*rows, parts=parts))


def test_scores_far_apart_neither_overflow_nor_vanish():
    caches = Caches([5], 1, (16, 16), torch.float32)
    query = states(1, 1, 16, 1) * 1e4
    seen = caches.attend(query, states(1, 1, 16, 2), states(1, 1, 16, 3))
    torch.testing.assert_close(seen, expected(caches, query))


def test_what_is_no_number_stays_none():
    caches = Caches([5, 5], 1, (16, 16), torch.float32)
    caches.values[0][0, 2, 3] = torch.nan
    seen = caches.attend(states(2, 1, 16, 1), states(2, 1, 16, 2), states(2, 1, 16, 3))
    assert seen[0].isnan().any()
    assert seen[1].isfinite().all()
    query = states(2, 1, 16, 1)
    query[1] = torch.nan
    assert caches.attend(query, states(2, 1, 16, 2), states(2, 1, 16, 3))[1].isnan().all()


@pytest.mark.parametrize("dtype", list(LIKE))
def test_tokens_are_kept_where_they_belong_and_nowhere_else(dtype):
    caches = Caches([1, 1], 2, (16, 24), dtype)
    before = [part.clone() for part in (*caches.keys, *caches.values)]
    key, value = states(9, 2, 16, 5), states(9, 2, 24, 6)
    key[4, 0, 0], value[4, 1, 1] = 1e6, -1e6
    starts, lengths, positions = np.array([0, 3]), np.array([3, 6]), np.array([4, ROOM - 6])
    kernels.keep(
        [0, 4], starts, lengths, positions, key.numpy(), value.numpy(), caches.places, LIKE[dtype]
    )
    kept = [part.clone() for part in (*caches.keys, *caches.values)]
    # What float16 has no number for is its largest.
    most = torch.finfo(dtype).max
    for n, part in enumerate(kept):
        rows = (key if n < 2 else value).clamp(-most, most).to(dtype)
        start, length, position = (int(each[n % 2]) for each in (starts, lengths, positions))
        wanted = before[n].clone()
        wanted[:, position : position + length] = rows[start : start + length].transpose(0, 1)
        assert torch.equal(part, wanted)


def test_gelu_is_pytorchs_from_the_smallest_to_the_largest():
    numbers = torch.cat(
        (torch.linspace(-30, 30, 1000), torch.tensor([0.0, -0.0, 1e30, -1e30, 1e-30]))
    )
    wanted = torch.nn.functional.gelu(numbers.double(), approximate="tanh")
    seen = numbers.clone()
    kernels.gelu([0, len(seen)], seen.numpy())
    torch.testing.assert_close(seen.double(), wanted, atol=1e-6, rtol=1e-6)
    odd = torch.tensor([torch.nan, torch.inf])
    kernels.gelu([0, 2], odd.numpy())
    assert odd[0].isnan()
    assert odd[1] == torch.inf


def test_gelu_touches_nothing_outside_its_part():
    numbers = torch.full((10,), 2.0)
    kernels.gelu([3, 7], numbers.numpy())
    assert numbers[:3].eq(2).all()
    assert numbers[7:].eq(2).all()
    assert numbers[3:7].ne(2).all()

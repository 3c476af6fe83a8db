import errno
import mmap

import pytest
import torch

from workers.generation.attention import KeyValueCache
from workers.generation.processor import extent as extents
from workers.generation.processor.extent import Extent

SHAPE = (1, 2, 30, 8)


def test_each_layer_gets_pieces_that_do_not_touch():
    extent = Extent(30, layers=2)
    pieces = [extent.take(SHAPE, torch.float16) for _ in range(4)]
    for number, piece in enumerate(pieces):
        piece.fill_(number)
    assert all(piece.eq(number).all() for number, piece in enumerate(pieces))
    assert extent.take(SHAPE, torch.float16) is None


def test_pieces_outlive_the_extent():
    piece = Extent(30, layers=1).take(SHAPE, torch.float32).fill_(3)
    assert piece.eq(3).all()


def test_a_cache_has_equal_room_for_keys_and_values_where_the_extent_is_used_up():
    extent = Extent(30, layers=1)
    extent.take(SHAPE, torch.float32)
    cache = KeyValueCache(4, dtype=torch.float32, extent=extent)
    keys, values = cache.room(0, 0, 4, torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 4, 8))
    assert keys.shape == values.shape == SHAPE
    assert cache.addresses(0, 0, 4, keys, values) == (keys.data_ptr(), values.data_ptr(), 30)


def test_a_cache_that_outgrows_its_extent_keeps_what_it_has():
    cache = KeyValueCache(dtype=torch.float32, extent=Extent(4, layers=1))
    new = torch.ones(1, 2, 4, 8)
    cache.room(0, 0, 4, new, new)[0].fill_(5)
    before = cache.addresses(0, 0, 4, new, new)
    keys, _ = cache.room(0, 4, 9, new, new)
    assert keys.shape[2] == 9
    assert keys[:, :, :4].eq(5).all()
    assert cache.addresses(0, 4, 9, new, new) != before


@pytest.mark.parametrize(("code", "raised"), [(errno.ENOMEM, MemoryError), (errno.EPERM, OSError)])
def test_a_system_without_addresses_is_out_of_memory(monkeypatch, code, raised):
    def refuse(*_, **__):
        raise OSError(code, "no")

    monkeypatch.setattr(extents.mmap, "mmap", refuse)
    with pytest.raises(raised):
        Extent(30, layers=1).take(SHAPE, torch.float32)
    assert mmap.mmap is refuse

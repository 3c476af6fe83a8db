import mmap
import sys
from pathlib import Path

import pytest
import torch

from workers.generation import memory
from workers.generation.memory import (
    MemoryRange,
    give_back_heap,
    mapped_below,
    page_out,
    range_of,
)

PAGE = mmap.PAGESIZE


def resident_kilobytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile:"))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's own")
def test_what_is_paged_out_is_still_there_and_no_longer_this_process(tmp_path):
    path, size = tmp_path / "weights", 32 << 20
    path.write_bytes(b"\1" * size)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    weights = torch.frombuffer(mapped, dtype=torch.uint8)
    assert weights.sum() == size
    before = resident_kilobytes()
    page_out(range_of(weights))
    assert before - resident_kilobytes() > size // 1024 // 2
    assert weights.sum() == size


def test_a_range_is_all_that_a_view_belongs_to():
    whole = torch.zeros(10, 4)
    assert range_of(whole[3:].t()) == (whole.data_ptr(), 160)


@pytest.mark.parametrize("address", [0, PAGE - 1])
def test_less_than_a_page_and_memory_that_is_gone_do_no_harm(address):
    page_out(MemoryRange(address, PAGE - 1))
    page_out(MemoryRange(address, 3 * PAGE))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's own")
def test_files_of_a_folder_are_found_where_they_are_mapped(tmp_path):
    inner = tmp_path / "a b"
    inner.mkdir()
    (inner / "library").write_bytes(b"\1" * 3 * PAGE)
    with (inner / "library").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    place = torch.frombuffer(mapped, dtype=torch.uint8).data_ptr()
    assert mapped_below(inner) == mapped_below(tmp_path) == [(place, 3 * PAGE)]
    assert mapped_below(tmp_path / "a") == []


def test_a_heap_gives_back_what_was_freed_and_keeps_the_rest():
    kept = torch.arange(10)
    give_back_heap()
    assert kept.sum() == 45


def test_a_system_without_such_calls_goes_without(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(memory.ctypes, "CDLL", None)
    page_out(MemoryRange(0, 3 * PAGE))
    give_back_heap()
    assert mapped_below(Path("/usr")) == []

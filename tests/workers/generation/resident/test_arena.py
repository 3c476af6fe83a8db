import random
import threading

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from workers.generation.resident.arena import Arena, LayerShape
from workers.generation.resident.segments import SegmentTable


def test_segments_never_overlap_and_what_is_given_back_is_whole_again():
    dice = random.Random(1)  # noqa: S311
    table, held = SegmentTable(500), {}
    for _ in range(3000):
        if held and dice.random() < 0.45:
            start = dice.choice(list(held))
            table.give(start, held.pop(start))
        elif held and dice.random() < 0.3:
            start = dice.choice(list(held))
            more = dice.randint(1, 20)
            if table.extend(start + held[start], more):
                held[start] += more
        else:
            count = dice.randint(1, 60)
            start = table.take(count)
            if start is not None:
                held[start] = count
        tokens = [t for start, count in held.items() for t in range(start, start + count)]
        assert len(tokens) == len(set(tokens)) == 500 - table.free_tokens
        assert not tokens or max(tokens) < 500
    for start, count in held.items():
        table.give(start, count)
    assert table.take(500) == 0


def filled(cache, arena, number):
    """Write something of its own into a segment."""
    part = slice(cache.start, cache.start + cache.room_tokens)
    arena.keys[:, part] = number
    arena.values[:, part] = -number


def is_intact(cache, arena, number, count):
    part = slice(cache.start, cache.start + count)
    return bool((arena.keys[:, part] == number).all() and (arena.values[:, part] == -number).all())


def test_a_segment_that_grows_keeps_what_it_has_wherever_it_goes():
    """Down to the last token of an arena, with others in the way."""
    dice = random.Random(2)  # noqa: S311
    arena = Arena(LayerShape(2, 1, 4), 300, torch.device("cpu"), torch.float32)
    held, number = {}, 0
    for _ in range(800):
        if held and dice.random() < 0.2:
            del held[dice.choice(list(held))]
        elif held and dice.random() < 0.7:
            name = dice.choice(list(held))
            cache = held[name]
            before = cache.room_tokens
            free = 300 - sum(other.room_tokens for other in held.values())
            cache.reserve(before + dice.randint(0, free))
            assert is_intact(cache, arena, name, before)
            filled(cache, arena, name)
        else:
            number += 1
            free = 300 - sum(other.room_tokens for other in held.values())
            cache = arena.new_cache(300)
            cache.reserve(dice.randint(0, free))
            held[number] = cache
            filled(cache, arena, number)
        cache = None
        for name, other in held.items():
            assert is_intact(other, arena, name, other.room_tokens)


def test_an_arena_without_room_says_so_and_loses_nothing():
    arena = Arena(LayerShape(1, 1, 4), 100, torch.device("cpu"), torch.float32)
    one, other = arena.new_cache(300), arena.new_cache(300)
    one.reserve(60)
    filled(one, arena, 1)
    with pytest.raises(torch.OutOfMemoryError):
        other.reserve(41)
    assert is_intact(one, arena, 1, 60)
    other.reserve(40)
    assert other.room_tokens == 40


def test_a_beginning_is_copied_within_the_arena():
    arena = Arena(LayerShape(2, 1, 4), 100, torch.device("cpu"), torch.float32)
    one, other = arena.new_cache(300), arena.new_cache(300)
    one.reserve(30)
    filled(one, arena, 7)
    other.copy_beginning(one, 20)
    assert other.room_tokens == 20
    assert is_intact(other, arena, 7, 20)


class FailingCopies(TorchDispatchMode):
    """Every copy but the first few fails, and whatever takes memory."""

    def __init__(self, copies):
        super().__init__()
        self.copies = copies

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.copy_.default:
            if not self.copies:
                raise RuntimeError("the device fails")
            self.copies -= 1
        elif function in {torch.ops.aten.clone.default, torch.ops.aten.empty_like.default}:
            raise torch.OutOfMemoryError("full")
        return function(*args, **(kwargs or {}))


def scattered_arena():
    """Segments with free stretches among them, none of which has 30 tokens."""
    arena = Arena(LayerShape(2, 1, 4), 100, torch.device("cpu"), torch.float32)
    arena._moving = arena._moving[:, :4]
    caches = [arena.new_cache(1000) for _ in range(8)]
    for number, cache in enumerate(caches):
        cache.reserve(12)
        filled(cache, arena, number)
    return arena, {number: caches[number] for number in (1, 3, 4, 6)}


@pytest.mark.parametrize("growing", [1, 4, 6, None])
def test_segments_move_without_memory_and_nothing_is_handed_out_twice_where_that_fails(growing):
    copies = 0
    while True:
        arena, held = scattered_arena()
        cache = arena.new_cache(1000) if growing is None else held[growing]
        before = {number: other.start for number, other in held.items()}
        try:
            with FailingCopies(copies):
                cache.reserve(42)
            has_failed = False
        except RuntimeError:
            has_failed = True
        # Where it failed, one was under way; all others hold what they held.
        damaged = [n for n, other in held.items() if not is_intact(other, arena, n, 12)]
        assert len(damaged) <= has_failed
        assert all(held[number].start == before[number] for number in damaged)
        others = [arena.new_cache(1) for _ in range(100)]
        taken = []
        for other in others:
            try:
                other.reserve(1)
            except torch.OutOfMemoryError:
                break
            taken.append(other)
        places = [
            token
            for other in {*held.values(), cache, *taken}
            for token in range(other.start, other.start + other.room_tokens)
        ]
        assert sorted(places) == list(range(1, 101))
        if not has_failed:
            break
        copies += 1
    assert copies > 4


def test_who_lets_go_of_a_segment_elsewhere_only_leaves_word(monkeypatch):
    """Errors keep caches alive in the threads of jobs, where nobody may touch the table."""
    arena = Arena(LayerShape(1, 1, 4), 100, torch.device("cpu"), torch.float32)
    one, other = arena.new_cache(300), arena.new_cache(300)
    one.reserve(40)
    other.reserve(60)
    filled(other, arena, 2)
    touched = []
    give = arena.give
    monkeypatch.setattr(
        arena, "give", lambda *args: touched.append(threading.current_thread()) or give(*args)
    )
    held = [one]
    del one
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert not touched
    other.reserve(100)
    assert touched == [threading.current_thread()]
    assert is_intact(other, arena, 2, 60)


def test_room_that_is_not_needed_yet_costs_nobody_a_place():
    """Plenty is free, and no stretch of it is as long as the answer may become."""
    arena = Arena(LayerShape(1, 1, 4), 1000, torch.device("cpu"), torch.float32)
    caches = [arena.new_cache(300) for _ in range(100)]
    for cache in caches:
        cache.reserve(10)
        cache.trim(10)
    # Whatever plenty gave first went back; now every other stretch is free.
    held = caches[::2]
    places = [cache.start for cache in held]
    cache = None
    del caches
    arena.yield_room = lambda: pytest.fail("room was asked for")
    one = arena.new_cache(60)
    one.reserve(10)
    assert one.room_tokens == 10
    assert [cache.start for cache in held] == places

import torch

from workers.generation.attention import KeyValueCache
from workers.generation.prefixes import PrefixShelf


def cache_of(token_ids) -> KeyValueCache:
    """A cache of one layer whose keys are the token ids themselves."""
    cache = KeyValueCache(len(token_ids) + 8)
    keys = torch.tensor(token_ids, dtype=torch.float32).reshape(1, 1, -1, 1)
    room = cache.room(0, 0, len(token_ids), keys, -keys)
    for kept, part in zip(room, (keys, -keys), strict=True):
        kept[:, :, : len(token_ids)] = part
    return cache


def shelf_with(*sequences) -> PrefixShelf:
    shelf = PrefixShelf()
    for token_ids in sequences:
        shelf.put(token_ids, cache_of(token_ids))
    return shelf


def test_the_longest_common_beginning_is_copied():
    shelf = shelf_with(range(30), [*range(40), 99, 98])
    fresh = KeyValueCache(100)
    prompt = [*range(40), 7, 7, 7]
    assert shelf.fill(fresh, prompt) == 40
    with torch.inference_mode():
        keys, values = fresh.room(0, 40, 41, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
    assert keys.flatten().tolist()[:40] == list(range(40))
    assert values.flatten().tolist()[:40] == [-i for i in range(40)]


def test_one_token_is_always_left_to_compute():
    assert shelf_with(range(30)).fill(KeyValueCache(40), list(range(30))) == 29


def test_strangers_and_short_beginnings_are_not_copied():
    shelf = shelf_with(range(30), range(5))
    assert shelf.fill(KeyValueCache(60), [*range(10), *range(50, 80)]) == 0
    assert PrefixShelf().fill(KeyValueCache(60), list(range(30))) == 0


def test_a_longer_sequence_takes_the_place_of_its_beginning():
    shelf = shelf_with(range(20), range(40), range(30))
    assert shelf.held_tokens == 48


def test_the_least_recently_used_leaves_first():
    first, second = list(range(20)), list(range(100, 120))
    shelf = shelf_with(first, second)
    shelf.fill(KeyValueCache(40), [*first, 1])
    shelf.shrink(30)
    assert shelf.fill(KeyValueCache(40), [*first, 1]) == 20
    assert shelf.fill(KeyValueCache(40), [*second, 1]) == 0
    shelf.shrink(0)
    assert shelf.held_tokens == 0

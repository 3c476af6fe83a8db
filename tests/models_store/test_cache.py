import os
import time

import pytest

from models_store.cache import VersionCache
from tests.models_store.conftest import make_site

HOUR = 3600


def put(cache, path, size=1000):
    with cache.held(path):
        staging = cache.new_staging()
        (staging / "weights").write_bytes(b"x" * size)
        return cache.adopt(path, staging)


def find(cache, path):
    with cache.held(path):
        return cache.find(path)


def age(folder, seconds):
    os.utime(folder, (time.time() - seconds,) * 2)


@pytest.fixture
def cache(tmp_path):
    return VersionCache(tmp_path / "cache", 2500)


def test_what_was_adopted_is_found(cache):
    assert find(cache, "a/1") is None
    folder = put(cache, "a/1")
    assert find(cache, "a/1") == folder


@pytest.mark.parametrize(
    "path", ["a/b-c", "a-b/c", "a/b/c", "é" * 120, "x" * 120 + "/" + "y" * 120]
)
def test_no_two_paths_share_a_place(cache, path):
    others = [put(cache, other) for other in ("a-b-c", "a_b_c")]
    assert put(cache, path) not in others
    assert len({folder.name for folder in others}) == 2


def test_the_least_recently_used_goes_first(cache):
    old, used = put(cache, "old"), put(cache, "used")
    age(old, 3 * HOUR)
    age(used, 2 * HOUR)
    newest = put(cache, "newest")
    assert (old.exists(), used.exists(), newest.exists()) == (False, True, True)


def test_finding_is_using(cache):
    first, second = put(cache, "first"), put(cache, "second")
    age(first, 3 * HOUR)
    age(second, 2 * HOUR)
    find(cache, "first")
    put(cache, "third")
    assert (first.exists(), second.exists()) == (True, False)


def test_what_may_still_be_loading_stays_even_above_the_bound(cache):
    folders = [put(cache, name) for name in "abcd"]
    assert all(folder.exists() for folder in folders)


def test_what_somebody_holds_is_not_evicted(cache):
    held, idle = put(cache, "held"), put(cache, "idle")
    age(held, 3 * HOUR)
    age(idle, 2 * HOUR)
    with cache.held("held"):
        put(cache, "third")
    assert (held.exists(), idle.exists()) == (True, False)


def test_a_version_larger_than_the_bound_is_kept_all_the_same(cache):
    idle = put(cache, "idle")
    age(idle, HOUR)
    assert put(cache, "huge", 10_000).exists()
    assert not idle.exists()


def test_an_evicted_version_stays_readable_to_who_has_it_open(cache):
    folder = put(cache, "a")
    age(folder, HOUR)
    with (folder / "weights").open("rb") as weights:
        put(cache, "b", 5000)
        assert not folder.exists()
        assert weights.read() == b"x" * 1000


@pytest.mark.parametrize("change", ["rewrite", "delete", "add", "unmark"])
def test_an_entry_that_was_written_to_is_not_handed_out(cache, change):
    folder = put(cache, "a")
    if change == "rewrite":
        (folder / "weights").write_bytes(b"y" * 1000)
    elif change == "delete":
        (folder / "weights").unlink()
    elif change == "add":
        (folder / "more").write_bytes(b"")
    else:
        (folder / ".verified.json").unlink()
    assert find(cache, "a") is None
    assert not folder.exists()


def test_what_a_dead_fetcher_left_is_swept_up_after_a_day(cache):
    old, young = cache.new_staging(), cache.new_staging()
    age(old, 25 * HOUR)
    put(cache, "a")
    assert (old.exists(), young.exists()) == (False, True)


def test_dropping_what_is_not_there_is_harmless(cache):
    cache.drop("never")


def test_the_store_keeps_its_cache_within_the_bound(folder, tmp_path):
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    site = make_site(f"memory://{tmp_path}", tmp_path / "cache", size * 2 + 2000)
    for number in range(3):
        site.store.publish(folder, f"models/a/{number}", {})
    old, used = site.store.fetch("models/a/0"), site.store.fetch("models/a/1")
    age(old, 3 * HOUR)
    age(used, 2 * HOUR)
    newest = site.store.fetch("models/a/2")
    assert (old.exists(), used.exists(), newest.exists()) == (False, True, True)


def test_what_the_store_has_on_the_same_disk_does_not_count(folder, tmp_path):
    site = make_site(f"file://{tmp_path / 'store'}", tmp_path / "cache", 3000)
    fetched = []
    for number in range(3):
        site.store.publish(folder, f"models/a/{number}", {})
        fetched.append(site.store.fetch(f"models/a/{number}"))
        age(fetched[-1], HOUR)
    assert all(folder.exists() for folder in fetched)

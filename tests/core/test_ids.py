import re
import time
from concurrent.futures import ThreadPoolExecutor

from core.ids import ID_PATTERN, new_id


def test_ids_sort_by_time_and_leave_room_for_a_nonce_suffix():
    first = new_id()
    time.sleep(0.002)
    second = new_id()
    assert first < second
    assert re.fullmatch(ID_PATTERN, first)
    assert len(f"{first}.999") <= 25


def test_ids_of_one_process_differ_and_sort_in_the_order_of_their_making():
    ids = [new_id() for _ in range(2000)]
    assert sorted(set(ids)) == ids


def test_ids_sort_on_when_the_clock_is_set_back(monkeypatch):
    first = new_id()
    an_hour_ago = time.time_ns() - 3_600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: an_hour_ago)
    second = new_id()
    assert first < second < new_id()


def test_ids_of_many_threads_differ_and_sort_in_each():
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: [new_id() for _ in range(2000)], range(8)))
    assert all(sorted(ids) == ids for ids in made)
    assert len({one for ids in made for one in ids}) == 16_000

import re
import time

from core.ids import ID_PATTERN, new_id


def test_ids_sort_by_time_and_leave_room_for_a_nonce_suffix():
    first = new_id()
    time.sleep(0.002)
    second = new_id()
    assert first < second
    assert re.fullmatch(ID_PATTERN, first)
    assert len(f"{first}.999") <= 25


def test_ids_of_one_millisecond_differ():
    assert len({new_id() for _ in range(2000)}) == 2000

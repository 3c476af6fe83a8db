import pytest

from workers.generation.processor.threads import share


def test_each_part_is_done_once_and_a_failure_reaches_the_caller():
    seen = []
    share(lambda first, last, mark: seen.append((first, last, mark)), [0, 2, 5, 9], "m")
    assert sorted(seen) == [(0, 2, "m"), (2, 5, "m"), (5, 9, "m")]

    def fail(first, _last):
        if first:
            raise ValueError(first)

    with pytest.raises(ValueError, match="5"):
        share(fail, [0, 5, 9])

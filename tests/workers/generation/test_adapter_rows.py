from hypothesis import given
from hypothesis import strategies as st

from workers.generation.adapter_rows import Bundle, Group, arrange


def test_one_row_each_in_neighbouring_slots_is_one_product():
    groups = [Group(slot, 3 + slot, 1) for slot in range(20)]
    assert arrange(groups) == ([Bundle(0, 20, 3, 1)], None)


def test_unlike_groups_are_gathered_and_a_long_prompt_goes_alone():
    counts = [1, 2, 1, 3, 100, 1, 2, 1]
    groups, row = [], 0
    for slot, count in enumerate(counts):
        groups.append(Group(slot, row, count))
        row += count
    bundles, gathering = arrange(groups)
    assert bundles == [Bundle(4, 1, 7, 100)]
    assert gathering is not None
    assert (gathering.slots, gathering.count) == (8, 3)


@given(
    st.lists(st.tuples(st.integers(0, 31), st.integers(1, 20)), unique_by=lambda g: g[0]),
    st.integers(0, 5),
)
def test_every_row_meets_its_adapter_once(chosen, base_rows):
    groups, row, owner = [], base_rows, {}
    for slot, count in sorted(chosen):
        groups.append(Group(slot, row, count))
        owner |= dict.fromkeys(range(row, row + count), slot)
        row += count
    bundles, gathering = arrange(groups)
    served = []
    for bundle in bundles:
        served += [
            (bundle.row + place, bundle.slot + place // bundle.count)
            for place in range(bundle.slots * bundle.count)
        ]
    if gathering is not None:
        for place, target in zip(gathering.places, gathering.targets, strict=True):
            assert gathering.sources[place] == target
            served.append((target, gathering.slot + place // gathering.count))
        assert len(gathering.sources) == gathering.slots * gathering.count
    assert sorted(served) == sorted(owner.items())

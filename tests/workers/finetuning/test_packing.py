import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from workers.finetuning.encoding import Encoded
from workers.finetuning.heads import attach_summed_loss
from workers.finetuning.packing import pack, plan_bins


def stretch(ids: list[int], learnt_from: int = 1) -> Encoded:
    array = np.array(ids, np.int32)
    labels = array.copy()
    labels[:learnt_from] = -100
    return Encoded(array, labels)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 64), max_size=80))
def test_every_item_lands_in_one_bin_that_holds_it(lengths):
    bins = plan_bins(lengths, 64)
    assert sorted(item for members in bins for item in members) == list(range(len(lengths)))
    assert all(sum(lengths[item] for item in members) <= 64 for members in bins)
    # Best fit never opens a bin where an item would have fitted: no two bins are half empty.
    assert sum(sum(lengths[i] for i in members) <= 32 for members in bins) <= 1


def test_an_item_longer_than_a_bin_is_refused():
    with pytest.raises(ValueError, match="longer"):
        plan_bins([65], 64)


def test_short_texts_fill_rows_almost_without_padding():
    lengths = np.random.default_rng(0).integers(5, 120, 3000)
    rows = pack((stretch([3] * int(n)) for n in lengths), 512, 0)
    assert rows.fill > 0.995
    assert rows.real_tokens == lengths.sum()


def test_positions_start_again_with_each_document():
    rows = pack([stretch([5, 6, 7]), stretch([8, 9])], 8, 0)
    assert rows.input_ids.tolist() == [[5, 6, 7, 8, 9, 0, 0, 0]]
    assert rows.position_ids.tolist() == [[0, 1, 2, 0, 1, 0, 0, 0]]
    assert rows.labels.tolist() == [[-100, 6, 7, -100, 9, -100, -100, -100]]
    assert rows.learnt(0).tolist() == [0, 1, 3]


def test_documents_without_anything_to_learn_are_left_out():
    assert len(pack([stretch([5, 6, 7], learnt_from=3)], 8, 0)) == 0


@pytest.mark.parametrize("base", ["tiny_gpt2_folder", "tiny_llama_folder"])
def test_documents_in_a_row_never_see_each_other(base, request):
    model = AutoModelForCausalLM.from_pretrained(request.getfixturevalue(base)).eval()
    attach_summed_loss(model)
    documents = [[3, 9, 27, 81, 5], [7, 14, 28], [100, 50, 25, 12, 6, 3, 1]]

    def loss(stretches):
        rows = pack(stretches, 24, 0)
        batch = {
            n: torch.from_numpy(getattr(rows, n)).long()
            for n in ("input_ids", "position_ids", "labels")
        }
        with torch.no_grad():
            return model(**batch).loss

    together = loss([stretch(ids) for ids in documents])
    apart = sum(loss([stretch(ids)]) for ids in documents)
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-4)

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM

from workers.finetuning import packed_kernels
from workers.finetuning.bases import enable_gradient_checkpointing
from workers.finetuning.encoding import Encoded
from workers.finetuning.heads import attach_summed_loss
from workers.finetuning.layers import compile_layers, make_layers_fast
from workers.finetuning.packed_attention import NAME, find_documents, use_packed_attention
from workers.finetuning.packed_kernels import attend_documents
from workers.finetuning.packing import pack

DOCUMENTS = [[3, 9, 27, 81, 5], [7, 14, 28], [100, 50, 25, 12, 6, 3, 1], [8, 9]]


def rows_of(block_size):
    stretches = []
    for ids in DOCUMENTS:
        array = np.array(ids, np.int32)
        labels = array.copy()
        labels[0] = -100
        stretches.append(Encoded(array, labels))
    return pack(stretches, block_size, 0)


def batch_of(rows):
    names = ("input_ids", "position_ids", "labels")
    return {name: torch.from_numpy(getattr(rows, name)).long() for name in names}


def load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa")
    make_layers_fast(model, dropout=0.0)
    assert attach_summed_loss(model)
    assert model.config._attn_implementation == NAME
    return model.train()


def gradients(model, **inputs):
    model.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    return loss.detach(), {name: one.grad.clone() for name, one in model.named_parameters()}


@contextmanager
def counting_graphs():
    """What is compiled meanwhile."""
    torch._dynamo.reset()
    counts = torch._dynamo.utils.counters["stats"]
    counts.clear()
    yield counts
    torch._dynamo.reset()


@pytest.mark.parametrize("base", ["tiny_gpt2_folder", "tiny_llama_folder"])
@pytest.mark.parametrize("block_size", [10, 24])
def test_loss_and_gradients_are_those_of_the_mask(base, block_size, request):
    model, rows = load(request.getfixturevalue(base)), rows_of(block_size)
    documents = [rows.lengths(row) for row in range(len(rows))]
    loss, found = gradients(model, **batch_of(rows), documents=documents)
    masked_loss, expected = gradients(model, **batch_of(rows))
    torch.testing.assert_close(loss, masked_loss)
    for name, one in expected.items():
        torch.testing.assert_close(found[name], one, rtol=1e-4, atol=1e-5, msg=name)


def test_recomputed_activations_give_the_same_gradients(tiny_gpt2_folder):
    """Recomputing happens in backward, where nothing of the forward pass stands around it."""
    model, rows = load(tiny_gpt2_folder), rows_of(24)
    inputs = {**batch_of(rows), "documents": [rows.lengths(0)]}
    _, expected = gradients(model, **inputs)
    enable_gradient_checkpointing(model)
    _, found = gradients(model, **inputs)
    assert all(torch.equal(found[name], one) for name, one in expected.items())


# Dynamo hides it, which cannot help where warnings are errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_compiled_layers_learn_alike_and_are_left_alone_between(tiny_gpt2_folder):
    model, rows = load(tiny_gpt2_folder), rows_of(24)
    inputs = {**batch_of(rows), "documents": [rows.lengths(0)]}
    _, expected = gradients(model, **inputs)
    measured = model.eval()(**inputs).loss
    compile_layers(model, backend="aot_eager")
    with counting_graphs() as graphs:
        assert torch.equal(model.eval()(**inputs).loss, measured)
        assert not graphs
        _, found = gradients(model.train(), **inputs)
        assert graphs
    for name, one in expected.items():
        torch.testing.assert_close(found[name], one, rtol=1e-4, atol=1e-5, msg=name)


def test_lengths_count_the_padding_of_a_row_as_one_document():
    rows = rows_of(10)
    lengths = [rows.lengths(row) for row in range(len(rows))]
    assert [sum(one) for one in lengths] == [10] * len(rows)
    assert [one.tolist() for one in lengths] == [[7, 3], [5, 2, 3]]
    found = find_documents(lengths)
    assert found.bounds.tolist() == [0, 7, 10, 15, 17, 20]
    assert found.groups.tolist() == [[0, 20, 0, 6, 7], [0] * 5, [0] * 5]


def test_rows_are_grouped_by_their_longest_document():
    rows = [np.array(one, np.int32) for one in ([100, 28], [64, 64], [128], [200, 56], [512])]
    found = find_documents(rows)
    assert found.groups.tolist() == [[0, 384, 0, 6, 128], [384, 640, 6, 9, 200],
                                     [640, 1152, 9, 11, 512]]  # fmt: skip
    assert found.bounds.tolist() == [0, 100, 128, 192, 256, 384, 0, 200, 256, 0, 512]
    unordered = find_documents(rows[::-1]).groups
    assert unordered.tolist() == [[0] * 5, [0] * 5, [0, 1152, 0, 9, 512]]


def test_documents_are_parted_into_tiles_of_their_own():
    rows = [np.array([64, 1]), np.array([130, 5])]
    assert find_documents(rows).tiles.tolist() == [
        [0, 0, 64], [64, 64, 65], [65, 65, 195], [129, 65, 195], [193, 65, 195], [195, 195, 200],
    ]  # fmt: skip


def test_groups_attend_as_the_whole_does():
    torch.manual_seed(0)
    rows = [np.array(one, np.int32) for one in ([30, 20], [130, 20], [300])]
    tensors = [torch.randn(500, 2, 8, requires_grad=True) for _ in range(3)]
    results = []
    for documents in (find_documents(rows), find_documents([np.concatenate(rows)])):
        segments = documents._replace(tiles=documents.tiles[:0])
        attended, sums = attend_documents(*tensors, *segments, 0.3)
        grads = torch.autograd.grad(attended.square().sum(), tensors)
        results.append((attended, sums, *grads))
    assert sum(end > 0 for _, end, *_ in find_documents(rows).groups.tolist()) == 3
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_a_model_whose_layers_see_a_window_keeps_its_mask():
    config = MistralConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, sliding_window=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = MistralForCausalLM(config)
    assert not use_packed_attention(model, None)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("broken", ["_forward_on_cpu", "_backward_on_cpu"])
@pytest.mark.parametrize("base", ["tiny_gpt2_folder", "tiny_llama_folder"])
def test_a_kernel_that_fails_behind_its_first_block_is_not_used(broken, base, request, monkeypatch):
    """Forward and backward are tried, on documents that are longer than a block."""
    whole = getattr(packed_kernels, broken)

    def half(*inputs):
        first, *others = whole(*inputs)
        return torch.cat((first[:32], torch.zeros_like(first[32:]))), *others

    model = AutoModelForCausalLM.from_pretrained(request.getfixturevalue(base)).train()
    before = model.config._attn_implementation
    with monkeypatch.context() as patch:
        patch.setattr(packed_kernels, broken, half)
        assert not use_packed_attention(model, None)
    assert model.config._attn_implementation == before
    assert use_packed_attention(model, None)
    assert model.training
    assert all(one.grad is None for one in model.parameters())


def test_answers_are_generated_as_before(tiny_llama_folder):
    ids = torch.tensor([[0, 0, 5, 6, 7], [4, 5, 6, 7, 8]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    wishes = {"attention_mask": mask, "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    expected = AutoModelForCausalLM.from_pretrained(tiny_llama_folder).generate(ids, **wishes)
    assert torch.equal(load(tiny_llama_folder).eval().generate(ids, **wishes), expected)

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, CohereConfig, CohereForCausalLM

from workers.finetuning.encoding import IGNORED
from workers.finetuning.heads import attach_summed_loss
from workers.finetuning.packing import PackedRows

IDS = torch.tensor([[5, 6, 7, 8, 9, 10]])


def expected_loss(model, labels):
    with torch.no_grad():
        logits = model(input_ids=IDS).logits
    return functional.cross_entropy(logits[0, :-1], labels[0, 1:], reduction="sum")


@pytest.mark.parametrize("base", ["tiny_gpt2_folder", "tiny_llama_folder"])
def test_the_summed_loss_is_that_of_the_logits(base, request):
    model = AutoModelForCausalLM.from_pretrained(request.getfixturevalue(base)).eval()
    labels = IDS.clone()
    labels[0, 2] = -100
    expected = expected_loss(model, labels)
    assert attach_summed_loss(model)
    torch.testing.assert_close(model(input_ids=IDS, labels=labels).loss, expected)


def test_positions_that_the_caller_knows_are_those_that_count(tiny_gpt2_folder):
    model = AutoModelForCausalLM.from_pretrained(tiny_gpt2_folder).eval()
    attach_summed_loss(model)
    ids = torch.arange(5, 17).view(2, 6)
    labels = ids.clone()
    labels[0, 1:4] = labels[1, 5] = IGNORED
    rows = PackedRows(ids.numpy(), labels.numpy(), ids.numpy(), 12)
    found = []
    for learnt in (None, [rows.learnt(row) for row in range(2)]):
        loss = model(input_ids=ids, labels=labels, learnt=learnt).loss
        model.zero_grad()
        loss.backward()
        found.append((loss, *(p.grad.clone() for p in model.parameters())))
    for counted, known in zip(*found, strict=True):
        assert torch.equal(counted, known)


def test_without_labels_the_model_is_itself(tiny_llama_folder):
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_folder).eval()
    before = model(input_ids=IDS).logits
    attach_summed_loss(model)
    assert torch.equal(model(input_ids=IDS).logits, before)
    assert model.generate(IDS, max_new_tokens=3, do_sample=False).shape == (1, 9)


def test_a_head_that_scales_its_logits_keeps_them_whole():
    config = CohereConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, logit_scale=0.25, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    model = CohereForCausalLM(config).eval()
    expected = expected_loss(model, IDS)
    assert not attach_summed_loss(model)
    torch.testing.assert_close(model(input_ids=IDS, labels=IDS).loss, expected)

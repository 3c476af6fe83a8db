import pytest
import torch

from workers.finetuning.devices import choose_products

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("instructions", "parameters", "expected"),
    [
        ("avx512_bf16", 124_000_000, torch.bfloat16),
        ("amx_bf16", 124_000_000, torch.bfloat16),
        ("avx512_bf16", 1_000_000, torch.float32),
        ("avx2", 124_000_000, torch.float32),
    ],
)
def test_a_cpu_computes_large_models_in_what_it_has_instructions_for(
    monkeypatch, instructions, parameters, expected
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {instructions: True})
    assert choose_products("auto", CPU, parameters) is expected
    assert choose_products("float32", CPU, parameters) is torch.float32

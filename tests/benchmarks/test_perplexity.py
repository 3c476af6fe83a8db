import pytest

from benchmarks.perplexity import compare
from tests.workers.model_folders import save_tiny_gpt2, save_tiny_llama
from workers.generation.processor.linears import supported_kinds


@pytest.mark.parametrize("save", [save_tiny_gpt2, save_tiny_llama])
def test_each_kind_of_weights_stays_within_a_percent_of_fp32(save, tmp_path):
    report = compare(save(tmp_path), 120)
    assert len(report["goals"]) == 2 * len(supported_kinds())
    assert [goal for goal in report["goals"] if not goal["met"]] == []

import pytest

from benchmarks.perplexity import compare
from workers.generation.linears import supported_kinds


@pytest.mark.parametrize("folder", ["tiny_gpt2_folder", "tiny_llama_folder"])
def test_each_kind_of_weights_stays_within_a_percent_of_fp32(folder, request):
    report = compare(request.getfixturevalue(folder), 120)
    assert len(report["goals"]) == 2 * len(supported_kinds())
    assert [goal for goal in report["goals"] if not goal["met"]] == []

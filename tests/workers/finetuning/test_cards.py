import subprocess
import sys

import pytest

from workers.finetuning.cards import keep_to_one_card, likely_device
from workers.finetuning.spec import RunSpec

HIP, CUDA = "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"


def spec_of(device, processes=1):
    return RunSpec(base_model="base", corpus="corpus", device=device, processes=processes)


@pytest.mark.parametrize(
    ("is_amd", "before", "after"),
    [
        (False, {}, {CUDA: "1"}),
        (False, {CUDA: "2, GPU-7f"}, {CUDA: "GPU-7f"}),
        (False, {HIP: "4,5"}, {HIP: "4,5", CUDA: "1"}),
        (True, {}, {HIP: "1", CUDA: "1"}),
        (True, {CUDA: "2,3"}, {HIP: "3", CUDA: "3"}),
        (True, {HIP: "4,5", CUDA: "2,3"}, {HIP: "5", CUDA: "5"}),
    ],
)
def test_a_run_sees_the_card_that_it_names_and_no_other(is_amd, before, after):
    environment = dict(before)
    spec = keep_to_one_card(spec_of("cuda:1"), environment, is_amd=is_amd)
    assert (spec, environment) == (spec_of("cuda"), after)


@pytest.mark.parametrize(
    ("device", "processes", "environment"),
    [
        ("auto", 1, {}),
        ("cpu", 1, {}),
        ("cuda", 1, {CUDA: "2,3"}),
        ("cuda:0", 1, {CUDA: "2,3"}),
        ("cuda:1", 2, {}),
        ("cuda:1", 1, {CUDA: ""}),
        ("cuda:2", 1, {CUDA: "2,3"}),
    ],
)
def test_otherwise_all_stays_as_it_is(device, processes, environment):
    spec, before = spec_of(device, processes), dict(environment)
    assert keep_to_one_card(spec, environment, is_amd=False) is spec
    assert environment == before


def test_it_is_done_before_torch_looks():
    """Its libraries read the environment when they begin."""
    modules = "workers.finetuning.run, workers.finetuning.tasks"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("wish", "build", "has_driver", "expected"),
    [
        ("auto", "2.13.0+cu130", True, "cuda"),
        ("auto", "2.13.0+cu130", False, "cpu"),
        ("auto", "2.13.0+cpu", True, "cpu"),
        ("cuda:1", "2.13.0", True, "cuda:1"),
        ("rocm", "2.10.0+rocm7.2", True, "cuda"),
        ("cpu", "2.13.0+cu130", True, "cpu"),
    ],
)
def test_where_runs_will_compute_is_told_without_torch(tmp_path, wish, build, has_driver, expected):
    driver = tmp_path / "driver"
    if has_driver:
        driver.touch()
    found = likely_device(wish, drivers=[tmp_path / "other", driver], build=build)
    assert found == expected

import psutil
import torch

from workers.generation.hardware import describe_device


def test_the_cpu_is_described_by_this_process_and_the_machine():
    held = torch.ones(2**24)
    facts = describe_device(torch.device("cpu"))
    assert facts["device"] == "cpu"
    assert facts["memory_total_bytes"] == psutil.virtual_memory().total
    assert held.nbytes < facts["memory_used_bytes"] < facts["memory_total_bytes"]

import pytest

from benchmarks.generation_gpu import answer, shifted, step_bytes
from benchmarks.generation_workload import ChatRequest
from tests.workers.model_folders import save_tiny_gpt2
from workers.generation.engine import ContinuousBatchingEngine
from workers.generation.loading import load_model


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_model(save_tiny_gpt2(tmp_path_factory.mktemp("gpu-bench")), device="cpu")


def test_a_step_must_read_every_weight_once_and_each_rows_keys_and_values(loaded):
    config = loaded.model.config
    per_token = 2 * config.n_layer * config.n_embd * loaded.dtype.itemsize
    one, two = (step_bytes(loaded, rows, 100) for rows in (1, 2))
    assert two - one == 100 * per_token
    weights = sum(p.numel() for n, p in loaded.model.named_parameters() if "wpe" not in n)
    assert step_bytes(loaded, 0, 100) == weights * loaded.dtype.itemsize


def test_each_round_asks_in_words_of_its_own():
    rounds = {shifted((300, 301, 49_000), number) for number in range(5)}
    assert len(rounds) == 5
    assert all(300 <= token < 50_257 for ids in rounds for token in ids)


def test_every_token_of_every_request_has_its_time(loaded, monkeypatch):
    engine = ContinuousBatchingEngine(loaded, is_resident=True, cache_max_tokens=2048)
    ids = tuple(range(5, 25))
    requests = [ChatRequest(ids, 9), ChatRequest(ids[:4], 3)]
    monkeypatch.setattr("benchmarks.generation_gpu.shifted", lambda ids, _number: tuple(ids))
    run = answer(engine, requests, 0)
    assert all(times == sorted(times) and times for times in run.times)
    assert all(len(times) <= r.max_new_tokens for times, r in zip(run.times, requests, strict=True))
    engine.close()

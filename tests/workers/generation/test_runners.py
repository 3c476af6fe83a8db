import gc
import sys
import threading
import weakref
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from structlog.testing import capture_logs

from core.errors import InvalidInputError
from tests.workers.generation.asking import ask, prompts, text_of
from workers.generation import engine as engines
from workers.generation import runners
from workers.generation.device import DeviceRunner
from workers.generation.engine import ContinuousBatchingEngine
from workers.generation.loading import load_model
from workers.generation.resident import runner as residents
from workers.generation.resident.runner import ResidentRunner


@pytest.fixture(scope="module")
def loaded(tiny_gpt2_folder):
    return load_model(tiny_gpt2_folder, device="cpu", torch_threads=1)


def fits(monkeypatch, tokens):
    monkeypatch.setattr(residents, "_fitting_tokens", lambda *_: tokens)


def test_a_cache_shorter_than_the_window_bounds_what_can_be_answered(loaded, monkeypatch):
    fits(monkeypatch, 2100)
    engine = ContinuousBatchingEngine(replace(loaded, context_window=8192), is_resident=True)
    assert isinstance(engine._runner, ResidentRunner)
    assert engine.context_window == engine._runner.capacity_tokens == 2100
    with pytest.raises(InvalidInputError, match="sees 2100"):
        ask(engine, (5,) * 2100)
    assert text_of(ask(engine, (5, 6), max_new_tokens=4))
    engine.close()


def refuses_layers(monkeypatch):
    monkeypatch.setattr(residents, "measure", lambda *_: None)


def has_little_room(monkeypatch):
    fits(monkeypatch, 100)


def is_full(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(residents, "Arena", full)


@pytest.mark.parametrize("prepare", [refuses_layers, has_little_room, is_full])
def test_a_device_that_cannot_keep_everything_answers_still_and_says_why(
    loaded, monkeypatch, prepare
):
    prompt = prompts(loaded, 1, seed=4)[0]
    usual = ContinuousBatchingEngine(loaded)
    expected = text_of(ask(usual, prompt))
    usual.close()
    prepare(monkeypatch)
    with capture_logs() as lines:
        engine = ContinuousBatchingEngine(loaded, is_resident=True)
    assert isinstance(engine._runner, DeviceRunner)
    (line,) = (line for line in lines if line["event"] == "resident_cache_refused")
    assert line["reason"]
    assert text_of(ask(engine, prompt)) == expected
    engine.close()


def test_a_device_that_breaks_while_it_is_tried_is_lost(loaded, monkeypatch):
    def break_down(*_):
        raise torch.AcceleratorError("an illegal memory access was encountered")

    monkeypatch.setattr(residents, "choose_paths", break_down)
    lost = []
    with pytest.raises(torch.AcceleratorError):
        ContinuousBatchingEngine(loaded, is_resident=True, on_device_lost=lost.append)
    assert [type(exc) for exc in lost] == [torch.AcceleratorError]


def test_an_engine_works_on_its_model_s_device(loaded, monkeypatch):
    entered = []

    @contextmanager
    def working_on(device):
        entered.append((device, threading.current_thread().name))
        yield

    monkeypatch.setattr(engines, "working_on", working_on)
    monkeypatch.setattr(runners, "working_on", working_on)
    engine = ContinuousBatchingEngine(loaded, is_resident=True)
    text_of(ask(engine, (5, 6)))
    engine.close()
    here = threading.current_thread().name
    assert entered == [(loaded.device, here), (loaded.device, "engine")]


def test_the_device_of_a_gpu_is_made_current(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device", lambda device: ("current", device))
    device = torch.device("cuda:1")
    assert runners.working_on(device) == ("current", device)


def test_what_a_closed_engine_held_is_free_at_once(loaded):
    engine = ContinuousBatchingEngine(loaded, is_resident=True)
    for prompt in prompts(loaded, 4, seed=5):
        text_of(ask(engine, prompt + (5,) * 20))
    assert engine._prefixes.held_tokens
    keys = weakref.ref(engine._runner._arena.keys)
    gc.disable()
    try:
        engine.close()
        del engine
        assert keys() is None
    finally:
        gc.enable()


def test_without_the_compiler_answers_are_the_same(loaded, monkeypatch):
    asked = prompts(loaded, 3)

    def answers():
        engine = ContinuousBatchingEngine(loaded)
        streams = [ask(engine, prompt) for prompt in asked]
        texts = [text_of(stream) for stream in streams]
        engine.close()
        return texts

    compiled = answers()
    monkeypatch.setitem(sys.modules, "workers.generation.processor.batch", None)
    with capture_logs() as logs:
        assert answers() == compiled
    assert [line["event"] for line in logs] == ["compiled_attention_missing"]

"""Engines over the two families, shared by the tests of what an engine says and bears."""

import pytest
from transformers import AutoModelForCausalLM

from workers.generation.engine import ContinuousBatchingEngine
from workers.generation.loading import load_model


@pytest.fixture(scope="module", params=["tiny_gpt2_folder", "tiny_llama_folder"])
def loaded(request):
    return load_model(request.getfixturevalue(request.param), device="cpu", torch_threads=1)


@pytest.fixture(scope="module")
def reference(loaded):
    model = AutoModelForCausalLM.from_pretrained(loaded.tokenizer.name_or_path)
    return model.eval()


@pytest.fixture
def small_engine(loaded):
    """One that has room for little; not called ``engine``, which is SQL's."""
    engine = ContinuousBatchingEngine(
        loaded, max_batch_size=4, cache_max_tokens=1024, step_max_tokens=16
    )
    yield engine
    engine.close()

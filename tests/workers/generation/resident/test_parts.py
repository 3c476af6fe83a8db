import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from workers.generation.attention import ATTENTION_NAME
from workers.generation.protocol import Sampling
from workers.generation.resident import paths
from workers.generation.resident.adapters import PLAIN_HALVES
from workers.generation.resident.arena import LayerShape
from workers.generation.resident.choosing import COLUMNS, Choice, choice_of, choose
from workers.generation.resident.fitting import PaddedHead, fit, measure
from workers.generation.resident.inputs import StepInputs
from workers.generation.resident.paths import make_places, plain_decode, plain_mixed
from workers.generation.resident.programs import Programs, StepKey, size_for

CPU = torch.device("cpu")


def test_sizes_of_steps_hold_what_is_asked_and_waste_at_most_a_third():
    for count in range(1, 5000):
        size = size_for(count)
        assert count <= size
        assert count <= 16 or size <= count * 4 / 3
    assert len({size_for(count) for count in range(1, 257)}) < 25
    assert size_for(3, 32) == 32


def test_a_step_runs_as_it_is_where_no_graph_can_be_made():
    programs, runs = Programs(is_capturing=False), []
    key = StepKey(4, 4, is_decode=True, choice=Choice.GREEDY, max_rows=1, max_used=64)

    def body():
        runs.append(1)
        return torch.tensor([7])

    for _ in range(3):
        assert int(programs.run(key, body, is_static=True)) == 7
    assert (len(runs), programs.captured) == (3, 0)


class Graphs:
    """PyTorch's captures, as a device would make them: what runs, and who fails."""

    def __init__(self, monkeypatch):
        self.stream = "engine's"
        self.captures = self.replays = 0
        self.error = None
        self.most_at_once = self.at_once = 0
        for name, value in {
            "CUDAGraph": lambda: self,
            "graph": self.graph,
            "graph_pool_handle": object,
            "Stream": object,
            "current_stream": lambda: self.stream,
            "set_stream": lambda stream: setattr(self, "stream", stream),
            "synchronize": lambda: None,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)

    def graph(self, _graph, *, pool, stream, capture_error_mode):
        assert (pool, capture_error_mode) != (None, "global")
        return self.capturing(stream)

    @contextmanager
    def capturing(self, stream):
        self.stream = stream
        if self.error is not None:
            raise self.error
        self.captures += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(0.01)
        yield
        self.at_once -= 1
        self.stream = "engine's"

    def replay(self):
        self.replays += 1


@pytest.fixture
def graphs(monkeypatch):
    return Graphs(monkeypatch)


def key_of(tokens, *, is_decode=True, adapters=None):
    return StepKey(tokens, tokens, is_decode, Choice.GREEDY, 1, 64, adapters)


def run(programs, key):
    return int(programs.run(key, lambda: torch.tensor([7]), is_static=True))


def test_a_capture_that_fails_gives_its_size_up_and_several_turn_graphs_off(graphs):
    programs = Programs(is_capturing=True)
    assert [run(programs, key_of(1)) for _ in range(3)] == [7] * 3
    assert programs.captured == 1
    graphs.error = RuntimeError("operation not permitted when stream is capturing")
    assert [run(programs, key_of(2)) for _ in range(4)] == [7] * 4
    assert graphs.stream == "engine's"
    graphs.error = None
    assert [run(programs, key_of(2)) for _ in range(4)] == [7] * 4
    run(programs, key_of(3))
    run(programs, key_of(3))
    assert programs.captured == graphs.captures == 2
    graphs.error = RuntimeError("operation not permitted when stream is capturing")
    for tokens in (4, 5, 6):
        assert [run(programs, key_of(tokens)) for _ in range(2)] == [7] * 2
    graphs.error = None
    assert [run(programs, key_of(7)) for _ in range(4)] == [7] * 4
    # What none will ever run again holds no memory.
    assert (programs.captured, graphs.captures) == (0, 2)


def test_a_device_that_is_broken_is_not_taken_for_a_capture_that_fails(graphs, monkeypatch):
    def broken():
        raise torch.AcceleratorError("an illegal memory access was encountered")

    programs = Programs(is_capturing=True)
    run(programs, key_of(1))
    graphs.error = torch.AcceleratorError("an illegal memory access was encountered")
    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    with pytest.raises(torch.AcceleratorError):
        run(programs, key_of(1))
    assert graphs.stream == "engine's"


def test_two_engines_never_capture_at_once(graphs):
    def work():
        programs = Programs(is_capturing=True)
        for tokens in range(1, 6):
            run(programs, key_of(tokens))
            run(programs, key_of(tokens))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (graphs.captures, graphs.most_at_once) == (15, 1)


def test_steps_with_prompts_are_captured_only_once_they_come_often(graphs):
    programs = Programs(is_capturing=True)
    for _ in range(3):
        run(programs, key_of(32, is_decode=False))
    assert graphs.captures == 0
    run(programs, key_of(32, is_decode=False))
    assert (graphs.captures, graphs.replays) == (1, 1)
    # However many sizes come once, those with graphs keep them.
    for tokens in range(1000, 1300):
        run(programs, key_of(tokens, is_decode=False))
    assert programs.captured == 1


def test_graphs_of_adapters_that_moved_are_dropped(graphs):
    programs = Programs(is_capturing=True)
    for key in (key_of(1), key_of(1, adapters=(1, 0)), key_of(2, adapters=(1, 0))):
        run(programs, key)
        run(programs, key)
    assert programs.captured == 3
    run(programs, key_of(1, adapters=(2, 0)))
    assert programs.captured == 1


@pytest.mark.parametrize("heads", [3, 6])
def test_decoding_attends_as_the_path_for_any_step_does(heads):
    dice = torch.Generator().manual_seed(1)
    keys, values = (torch.randn(200, 3, 8, generator=dice) for _ in range(2))
    keys[150:], values[150:] = float("nan"), float("nan")
    query = torch.randn(3, heads, 8, generator=dice)
    key, value = (torch.randn(3, 3, 8, generator=dice) for _ in range(2))
    places = make_places((1, 1, 1), (50, 1, 7), (20, 148, 100), CPU)
    outcomes = []
    for path in (plain_mixed, plain_decode):
        held = keys.clone(), values.clone()
        outcomes.append((path(*held, query, key, value, places, 0.3), *held))
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)


@pytest.mark.parametrize("bias", [False, True])
def test_a_padded_head_shows_the_real_vocabulary_alone(bias):
    head = nn.Linear(8, 50, bias=bias)
    x = torch.randn(2, 8)
    padded = PaddedHead(head)
    assert padded.weight.shape == (64, 8)
    torch.testing.assert_close(padded(x), head(x))


def test_a_fitted_model_says_what_it_said(tiny_gpt2_folder, tiny_llama_folder):
    for folder in (tiny_gpt2_folder, tiny_llama_folder):
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        ids = torch.tensor([[5, 6, 7, 8]])
        with torch.inference_mode():
            before = model(ids).logits
            fit(model)
            fit(model)
            torch.testing.assert_close(model(ids).logits, before, atol=1e-5, rtol=1e-5)


def test_what_layers_keep_is_seen_and_layers_of_two_kinds_are_refused(tiny_llama_folder):
    model = AutoModelForCausalLM.from_pretrained(
        tiny_llama_folder, attn_implementation=ATTENTION_NAME
    ).eval()
    config = model.config
    measured = measure(model, CPU)
    assert measured is not None
    shape, heads = measured
    assert heads == config.num_attention_heads
    assert (shape.layers, shape.heads) == (config.num_hidden_layers, config.num_key_value_heads)
    assert shape.bytes_per_token(torch.float16) == 4 * shape.layers * shape.heads * shape.head_size
    model.model.layers[0].self_attn.layer_idx = 7
    assert measure(model, CPU) is None


def test_inputs_arrive_as_they_were_written_also_while_the_next_are_written():
    inputs = StepInputs(6, 2, CPU)
    for number in range(5):
        host = inputs.host()
        host["ids"][:] = np.arange(6) + number
        host["parameters"][:] = number + 0.5
        inputs.upload()
        inputs.host()["ids"][:] = -1
        assert inputs.device["ids"].tolist() == [number + i for i in range(6)]
        assert inputs.device["parameters"].eq(number + 0.5).all()


@pytest.mark.parametrize(
    ("sampling", "choice"),
    [
        ({"temperature": 0.0}, Choice.GREEDY),
        ({"temperature": 0.0, "repetition_penalty": 1.1}, Choice.SMALL),
        ({"temperature": 0.0, "presence_penalty": 0.1}, Choice.SMALL),
        ({"temperature": 0.0, "min_new_tokens": 1}, Choice.SMALL),
        ({"temperature": 0.5, "top_k": 40}, Choice.SMALL),
        ({"temperature": 0.5, "top_k": 4000}, Choice.WHOLE),
        ({"temperature": 0.5, "top_p": 0.9}, Choice.WHOLE),
    ],
)
def test_the_cheapest_exact_choice_is_taken(sampling, choice):
    assert choice_of(Sampling(**sampling)) is choice


def test_equal_logits_are_chosen_alike_whatever_the_neighbours_need():
    dice = torch.Generator().manual_seed(3)
    rows, vocabulary = 64, 2000
    logits = torch.randint(0, 4, (rows, vocabulary), generator=dice).float()
    # So few are the largest that the border of those that are taken is none of theirs.
    logits[:, ::20] = 5.0
    parameters = torch.zeros(rows, len(COLUMNS))
    for name, value in {
        "temperature": 1.0,
        "top_k": 40,
        "top_p": 1,
        "repetition_penalty": 1,
    }.items():
        parameters[:, COLUMNS.index(name)] = value
    parameters[:, COLUMNS.index("dice")] = torch.rand(rows, generator=dice)
    seen = torch.zeros(rows, vocabulary, dtype=torch.uint8)
    is_end = torch.zeros(vocabulary, dtype=torch.bool)
    small, whole = (
        choose(choice, logits, parameters, seen, is_end)[0].tolist()
        for choice in (Choice.SMALL, Choice.WHOLE)
    )
    assert small == whole
    # The forty of lowest id.
    assert set(small) <= set(range(0, 800, 20))


def test_an_adapter_that_is_no_number_harms_no_row_of_another():
    down, up = torch.randn(3, 6, 2), torch.randn(3, 2, 5)
    x, before = torch.randn(4, 6), torch.randn(4, 5)
    codes = torch.tensor([7, -1, 8, 6])
    outcomes = []
    for is_broken in (False, True):
        if is_broken:
            down[2], up[2] = float("nan"), float("nan")
        inner, output = torch.zeros(4, 2), before.clone()
        PLAIN_HALVES.down(x, inner, down, codes, 6)
        PLAIN_HALVES.up(inner, output, up, codes, 6)
        outcomes.append(output)
    expected = before.clone()
    for row, slot in ((0, 1), (2, 2), (3, 0)):
        if slot != 2:
            expected[row] += x[row] @ down[slot] @ up[slot]
    others = [0, 1, 3]
    torch.testing.assert_close(outcomes[0][others], expected[others])
    torch.testing.assert_close(outcomes[1][others], expected[others])
    assert outcomes[1][2].isnan().all()


@pytest.mark.parametrize(
    ("right", "decode", "needs_length"),
    [
        ({(1, 5, 3), (1, 1, 1)}, "flash", False),
        ({(1, 5, 3)}, "plain_decode", True),
        (set(), "plain_decode", True),
    ],
)
def test_each_kind_of_step_takes_a_path_that_was_tried_for_it(
    monkeypatch, right, decode, needs_length
):
    monkeypatch.setattr(paths, "_triton_path", lambda: None)
    monkeypatch.setattr(paths, "_is_right", lambda *args: args[-1] in right)
    chosen = paths.choose_paths(LayerShape(1, 1, 4), 1, torch.device("cuda"), torch.float16)
    assert (chosen.decode.__name__, chosen.needs_length) == (decode, needs_length)
    assert chosen.is_mixed_static == bool(right)


def test_a_token_of_the_cache_has_its_bytes():
    assert LayerShape(12, 12, 64).bytes_per_token(torch.bfloat16) == 36_864

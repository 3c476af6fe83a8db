"""Adapters in a batch say what PEFT says, and what cannot be served is refused alone."""

import gc
import json
import random
import shutil
import time
import weakref

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.workers.generation.adapter_folders import save_adapter
from workers.generation.adapter_bank import AdapterBank
from workers.generation.adapters import WEIGHTS_NAME, linear_shapes, read_adapter
from workers.generation.engine import ContinuousBatchingEngine
from workers.generation.errors import AdapterRefusedError
from workers.generation.loading import load_model
from workers.generation.protocol import GenerationRequest, Sampling

# PEFT asks transformers for a name that it is about to lose.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")

OPTIONS = [
    {"rank": 4},
    {"rank": 4, "seed": 5},
    {"rank": 8, "use_rslora": True},
    {"rank": 2, "lora_alpha": 16, "rank_pattern": {"c_attn|q_proj": 5}},
    {"rank": 4, "alpha_pattern": {"c_fc|up_proj": 2}},
    {"rank": 4, "seed": 8},
    {"rank": 4, "seed": 9},
    {"rank": 4, "seed": 10},
    # A whole vector's length: on a processor these have a loop of their own.
    {"rank": 16, "seed": 11},
    {"rank": 16, "seed": 12},
]


class Family:
    """A base, its adapters, and what PEFT makes of them."""

    def __init__(self, base, folder) -> None:
        self.base = base
        # With the packed layers that a worker has on a processor; fp32 is exact.
        self.loaded = load_model(
            base, device="cpu", dtype="float32", torch_threads=1, is_packing=True
        )
        self.shapes = linear_shapes(self.loaded.model)
        self.folders = [
            save_adapter(base, folder / str(i), **options) for i, options in enumerate(OPTIONS)
        ]
        self.adapters = [self.read(f, f"adapter-{i}") for i, f in enumerate(self.folders)]
        self._references = [AutoModelForCausalLM.from_pretrained(base).eval()]
        for each in self.folders:
            model = AutoModelForCausalLM.from_pretrained(base)
            self._references.append(PeftModel.from_pretrained(model, each).eval())

    def read(self, folder, name):
        return read_adapter(folder, name, self.shapes, torch.float32)

    def engine(self, **options):
        return ContinuousBatchingEngine(self.loaded, **options)

    def ask(self, engine, number, prompt, tokens=16):
        """``number`` is an adapter's; -1 is the base."""
        adapter = self.adapters[number] if number >= 0 else None
        sampling = Sampling(max_new_tokens=tokens, temperature=0.0)
        return engine.submit(GenerationRequest("r", prompt, sampling, adapter))

    def expected(self, number, prompt, tokens=16):
        with torch.inference_mode():
            output = self._references[number + 1].generate(
                input_ids=torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=tokens,
                do_sample=False,
                pad_token_id=0,
                eos_token_id=sorted(self.loaded.end_ids),
            )
        tokenizer = self.loaded.tokenizer
        return tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True).rstrip("�")


@pytest.fixture(scope="module", params=["tiny_gpt2_folder", "tiny_llama_folder"])
def family(request, tmp_path_factory):
    return Family(request.getfixturevalue(request.param), tmp_path_factory.mktemp("adapters"))


def prompts(count, seed):
    dice = random.Random(seed)  # noqa: S311
    return [tuple(dice.choices(range(2, 340), k=dice.randint(1, 60))) for _ in range(count)]


def text_of(stream):
    return "".join(chunk.text for chunk in stream)


def test_each_adapter_alone_says_what_peft_says(family):
    engine = family.engine()
    (prompt,) = prompts(1, 1)
    said = [text_of(family.ask(engine, number, prompt)) for number in range(len(OPTIONS))]
    assert said == [family.expected(number, prompt) for number in range(len(OPTIONS))]
    assert len(set(said)) > len(OPTIONS) // 2
    engine.close()


@pytest.mark.parametrize("is_resident", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_any_mix_of_base_and_adapters_says_what_peft_says(family, seed, is_resident):
    dice = random.Random(seed)  # noqa: S311
    engine = family.engine(
        max_batch_size=dice.choice((4, 16)),
        cache_max_tokens=dice.choice((300, 4096)),
        step_max_tokens=dice.choice((16, 64)),
        is_resident=is_resident,
    )
    asked = [(dice.randint(-1, len(OPTIONS) - 1), p) for p in prompts(24, seed + 2)]
    streams = [family.ask(engine, *one) for one in asked]
    for one, stream in zip(asked, streams, strict=True):
        assert text_of(stream) == family.expected(*one), one
    engine.close()


def test_a_second_turn_reuses_what_its_own_adapter_computed_and_no_other(family):
    engine = family.engine()
    first, more = prompts(2, 31)
    first = (first * 20)[:40]
    second = (*first, *more)
    for number in (-1, 0, 1):
        text_of(family.ask(engine, number, first))
    assert engine.stats().reused_tokens == 0
    for number in (1, -1, 0, 2):
        assert text_of(family.ask(engine, number, second)) == family.expected(number, second)
    assert engine.stats().reused_tokens >= 3 * (len(first) - 1)
    engine.close()


def test_a_closed_engine_leaves_the_base_as_it_was(family):
    hooks = sum(len(module._forward_hooks) for module in family.loaded.model.modules())
    engine = family.engine()
    text_of(family.ask(engine, 1, prompts(1, 3)[0]))
    assert sum(len(m._forward_hooks) for m in family.loaded.model.modules()) > hooks
    engine.close()
    assert sum(len(m._forward_hooks) for m in family.loaded.model.modules()) == hooks


def test_more_adapters_than_slots_take_turns(family, monkeypatch):
    monkeypatch.setattr("workers.generation.adapter_bank.SLOTS_PER_PAGE", 2)
    engine = family.engine(max_batch_size=2)
    asked = [(i % len(OPTIONS), p) for i, p in enumerate(prompts(20, 33))]
    streams = [family.ask(engine, *one) for one in asked]
    for one, stream in zip(asked, streams, strict=True):
        assert text_of(stream) == family.expected(*one)
    assert engine._bank.held <= 4
    engine.close()


def test_slots_are_made_as_adapters_come(family):
    engine = family.engine(max_batch_size=16)
    (prompt,) = prompts(1, 36)
    text_of(family.ask(engine, 0, prompt))
    assert [page.slots for pages in engine._bank._pages.values() for page in pages] == [4]
    assert slot_bytes(engine) == 4 * family.adapters[0].total_bytes
    # Idle ones make place; ten in use at once need more slots.
    alike = [family.read(family.folders[0], f"like-{i}") for i in range(10)]
    for adapter in alike:
        engine._bank.enter(adapter)
        engine._bank.leave(adapter)
    assert slot_bytes(engine) == 4 * family.adapters[0].total_bytes
    for adapter in alike:
        engine._bank.enter(adapter)
    assert slot_bytes(engine) == 16 * family.adapters[0].total_bytes
    engine.close()


def slot_bytes(engine):
    pages = [page for pages in engine._bank._pages.values() for page in pages]
    return sum(t.nbytes for page in pages for half in (page.down, page.up) for t in half.values())


def test_kept_prefixes_yield_the_device_to_an_adapter(family, monkeypatch):
    engine = family.engine()
    enter = engine._bank.enter

    def enter_if_nothing_is_kept(adapter):
        if engine._prefixes.held_tokens:
            raise torch.OutOfMemoryError
        enter(adapter)

    monkeypatch.setattr(engine._bank, "enter", enter_if_nothing_is_kept)
    (prompt,) = prompts(1, 37)
    prompt = (prompt * 40)[:40]
    text_of(family.ask(engine, -1, prompt))
    assert engine._prefixes.held_tokens
    assert text_of(family.ask(engine, 0, prompt)) == family.expected(0, prompt)
    engine.close()


def test_a_page_that_cannot_grow_keeps_what_it_has(family, monkeypatch):
    bank = AdapterBank(family.loaded.model, torch.device("cpu"), 16)
    alike = [family.read(family.folders[0], f"like-{i}") for i in range(5)]
    for adapter in alike[:4]:
        bank.enter(adapter)
    made = torch.Tensor.new_zeros
    left = [3]

    def new_zeros(tensor, *shape, **options):
        left[0] -= 1
        if left[0] < 0:
            raise torch.OutOfMemoryError
        return made(tensor, *shape, **options)

    monkeypatch.setattr(torch.Tensor, "new_zeros", new_zeros)
    with pytest.raises(torch.OutOfMemoryError):
        bank.enter(alike[4])
    assert bank.held == 4
    left[0] = 1000
    bank.enter(alike[4])
    (page,) = (page for pages in bank._pages.values() for page in pages)
    assert page.slots == 8
    for number, adapter in enumerate(alike):
        for layer, (down, up) in adapter.layers.items():
            assert torch.equal(page.down[layer][number], down)
            assert torch.equal(page.up[layer][number], up)


def test_an_adapter_without_room_on_the_device_fails_alone(family, monkeypatch):
    engine = family.engine()
    enter = engine._bank.enter

    def full(adapter):
        if adapter is family.adapters[1]:
            raise torch.OutOfMemoryError
        enter(adapter)

    monkeypatch.setattr(engine._bank, "enter", full)
    (prompt,) = prompts(1, 34)
    healthy = family.ask(engine, 0, prompt)
    with pytest.raises(Exception, match="out of memory"):
        text_of(family.ask(engine, 1, prompt))
    assert text_of(healthy) == family.expected(0, prompt)
    engine.close()


def test_an_adapter_that_was_read_again_keeps_its_slot_and_none_its_host_memory(family):
    engine = family.engine()
    (prompt,) = prompts(1, 35)
    said, read = set(), []
    for _ in range(2):
        adapter = family.read(family.folders[0], "read")
        read.append(weakref.ref(adapter))
        sampling = Sampling(max_new_tokens=4, temperature=0.0)
        said.add(text_of(engine.submit(GenerationRequest("r", prompt, sampling, adapter))))
        del adapter
    # What the thread has in hand goes with its next answer.
    text_of(family.ask(engine, -1, prompt))
    assert said == {family.expected(0, prompt, 4)}
    assert engine._bank.held == 1
    gc.collect()
    assert [one() for one in read] == [None, None]
    engine.close()


@pytest.fixture
def folder(family, tmp_path):
    return shutil.copytree(family.folders[0], tmp_path / "copy")


def change_weights(folder, change):
    weights = load_file(folder / WEIGHTS_NAME)
    save_file(change(weights), folder / WEIGHTS_NAME)


def change_config(folder, **values):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "biases"),
        ({"modules_to_save": ["wte", "embed_tokens"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"peft_type": None}, "None"),
        ({"lora_alpha": "much"}, "cannot be read"),
        ({"alpha_pattern": {"(": 1}}, "cannot be read"),
        ({"r": 64}, "is of rank 4, and its adapter_config.json says 64"),
        ({"rank_pattern": {"c_fc|up_proj": 2}}, "of rank 4, and its adapter_config.json says 2"),
        ({"lora_alpha": 10**400}, "cannot be read"),
        ({"lora_alpha": float("nan")}, "no numbers"),
        ({"lora_alpha": 1e300}, "no numbers"),
    ],
)
def test_what_is_no_plain_lora_is_refused(family, folder, options, reason):
    change_config(folder, **options)
    with pytest.raises(AdapterRefusedError, match=reason):
        family.read(folder, "strange")


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\xff" * 64])
@pytest.mark.parametrize("name", ["adapter_config.json", WEIGHTS_NAME])
def test_a_damaged_folder_is_refused(family, folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(AdapterRefusedError, match="cannot be read"):
        family.read(folder, "damaged")
    (folder / name).unlink()
    with pytest.raises(AdapterRefusedError, match="cannot be read"):
        family.read(folder, "damaged")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: {k: torch.cat((v, v), -1) for k, v in w.items()}, "inputs"),
        (lambda w: {k: v * float("nan") for k, v in w.items()}, "no numbers"),
        (lambda w: {k: v for k, v in w.items() if "lora_A" in k}, "cannot be read"),
        (lambda w: {k: v[:0] if "lora_A" in k else v[:, :0] for k, v in w.items()}, "inputs"),
        (lambda w: w | {"base_model.model.more.weight": torch.ones(2)}, "no half"),
        (lambda w: {k.replace(".0.", ".9."): v for k, v in w.items()}, "has none"),
        (lambda w: {}, "empty"),
    ],
    ids=["shape", "nan", "half", "no rank", "more", "layer", "empty"],
)
def test_weights_that_do_not_belong_to_the_base_are_refused(family, folder, change, reason):
    change_weights(folder, change)
    with pytest.raises(AdapterRefusedError, match=reason):
        family.read(folder, "odd")


def test_a_pattern_that_looks_at_every_way_to_match_holds_nobody_up(family, folder):
    change_config(folder, alpha_pattern={r"((\w|\.)+)+X": 1})
    before = time.monotonic()
    family.read(folder, "slow")
    assert time.monotonic() - before < 10


def test_a_configuration_that_is_nested_without_end_is_refused(family, folder):
    (folder / "adapter_config.json").write_text("[" * 100_000)
    with pytest.raises(AdapterRefusedError, match="cannot be read"):
        family.read(folder, "deep")


def test_an_adapter_of_another_family_is_refused(tiny_gpt2_folder, tiny_llama_folder, tmp_path):
    shapes = linear_shapes(load_model(tiny_llama_folder, device="cpu").model)
    save_adapter(tiny_gpt2_folder, tmp_path)
    with pytest.raises(AdapterRefusedError, match="has none"):
        read_adapter(tmp_path, "other", shapes, torch.float32)

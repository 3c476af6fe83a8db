import threading
import time

import pytest
from transformers import AutoModelForCausalLM

from core.conversations.utterances import Utterance, Weights
from core.settings import ChatSettings, GenerationSettings
from models_store.errors import VersionMissingError
from tests.workers.generation.adapter_folders import save_adapter
from workers.generation.errors import AdapterRefusedError, ModelUnreadableError
from workers.generation.model_size import weight_bytes
from workers.generation.protocol import FinishReason, Sampling, Standing
from workers.generation.responder import load_responder
from workers.generation.serving import Ask, ModelPool

GREEDY = Sampling(max_new_tokens=5, temperature=0.0)


def no_fetch(path, sha256):
    raise AssertionError(path)


class CountingResponder:
    """Knows its name and whether it was closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_closed = False
        self.is_alive = True
        self.holds_weights = name != "server"

    def ask(self, ask):
        raise NotImplementedError

    def describe(self):
        return {"name": self.name}

    def close(self) -> None:
        self.is_closed = True


class Loader:
    """Makes responders, slowly if asked, and remembers which."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.loaded: list[str] = []
        self._seconds = seconds

    def __call__(self, weights: Weights) -> CountingResponder:
        time.sleep(self._seconds)
        store_path = weights.store_path
        if store_path == "damaged":
            raise ModelUnreadableError("Damaged.")
        self.loaded.append(store_path)
        return CountingResponder(store_path)


def test_a_model_that_broke_down_is_loaded_anew_for_who_asks_next():
    loader = Loader()
    pool = ModelPool(loader, 2)
    with pool.using(Weights("a")) as first:
        first.is_alive = False
        with pool.using(Weights("a")) as second:
            assert second is not first
    with pool.using(Weights("a")) as third:
        assert third is second
    assert loader.loaded == ["a", "a"]


def test_a_model_is_loaded_once_however_many_ask():
    loader = Loader(0.05)
    pool = ModelPool(loader, 2)
    seen = []

    def ask() -> None:
        with pool.using(Weights("a")) as responder:
            seen.append(responder)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loader.loaded == ["a"]
    assert len(set(map(id, seen))) == 1


def test_the_least_recently_used_model_leaves_first():
    pool = ModelPool(Loader(), 2)
    kept = {}
    for name in ("a", "b", "a", "c"):
        with pool.using(Weights(name)) as responder:
            kept[name] = responder
    assert [name for name, r in kept.items() if r.is_closed] == ["b"]
    assert set(pool.describe()) == {"a", "c"}


@pytest.mark.parametrize("max_bytes", [0, 40])
def test_a_server_takes_no_model_s_place_and_keeps_its_own(max_bytes):
    pool = ModelPool(Loader(), 1, max_bytes, lambda w: {**SIZES, "server": 0}[w.store_path])
    for name, held in (
        ("server", {"server"}),
        ("a", {"server", "a"}),
        ("server", {"server", "a"}),
        ("b", {"server", "b"}),
    ):
        with pool.using(Weights(name)):
            pass
        assert set(pool.describe()) == held
    pool.close()


def test_a_model_that_answers_is_never_unloaded():
    pool = ModelPool(Loader(), 1)
    with pool.using(Weights("a")) as busy:
        with pool.using(Weights("b")) as other:
            assert not busy.is_closed
        assert not busy.is_closed
        assert other.is_closed
    assert not busy.is_closed


def test_a_model_that_cannot_be_loaded_harms_nobody_and_is_tried_again():
    pool = ModelPool(Loader(), 1)
    for _ in range(2):
        with pytest.raises(ModelUnreadableError), pool.using(Weights("damaged")):
            pass
    with pool.using(Weights("a")) as responder:
        assert responder.name == "a"


def test_closing_lets_go_of_everything():
    pool = ModelPool(Loader(), 2)
    with pool.using(Weights("a")) as responder:
        pass
    pool.close()
    assert responder.is_closed
    assert pool.describe() == {}


def test_adapters_share_the_place_of_their_base():
    loader = Loader()
    pool = ModelPool(loader, 1)
    versions = [Weights(f"adapter-{i}", "base", "a" * 64, "b" * 64) for i in range(3)]
    seen = []
    for weights in (*versions, Weights("base", None, "b" * 64)):
        with pool.using(weights) as responder:
            seen.append(responder)
    assert loader.loaded == ["base"]
    assert len(set(map(id, seen))) == 1


SIZES = {"a": 40, "b": 40, "c": 40, "huge": 200}


def bounded(max_bytes=100) -> ModelPool:
    return ModelPool(Loader(), 9, max_bytes, lambda weights: SIZES[weights.store_path])


def test_weights_are_swapped_by_demand_within_their_bytes():
    pool = bounded()
    for name, held in (("a", "a"), ("b", "ab"), ("a", "ab"), ("c", "ac"), ("b", "cb")):
        with pool.using(Weights(name)):
            assert set(pool.describe()) == set(held)
    with pool.using(Weights("huge")):
        assert set(pool.describe()) == {"huge"}


def test_who_finds_no_room_waits_until_a_model_is_idle(monkeypatch):
    pool = bounded()
    entered = threading.Event()

    def use_c():
        with pool.using(Weights("c")):
            entered.set()

    with pool.using(Weights("a")):
        with pool.using(Weights("b")):
            thread = threading.Thread(target=use_c)
            thread.start()
            assert not entered.wait(0.1)
        assert entered.wait(5)
        assert "a" in pool.describe()
    thread.join()


def test_a_model_that_is_never_idle_makes_room_in_the_end(monkeypatch):
    monkeypatch.setattr("workers.generation.serving._PATIENCE_SECONDS", 0.1)
    pool = bounded(40)
    ending = threading.Event()
    served = {"a": 0, "b": 0}

    def keep_asking(name):
        while not ending.is_set():
            with pool.using(Weights(name)) as responder:
                assert responder.name == name
                assert set(pool.describe()) == {name}
                served[name] += 1
                time.sleep(0.01)

    threads = [threading.Thread(target=keep_asking, args=(n,)) for n in ("a", "a", "a", "b")]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while min(served.values()) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    ending.set()
    for thread in threads:
        thread.join()
    assert min(served.values()) >= 3


def test_a_model_that_was_to_leave_and_need_not_is_kept_and_loaded_once(monkeypatch):
    monkeypatch.setattr("workers.generation.serving._PATIENCE_SECONDS", 0.02)
    loader = Loader()
    sizes = {"x": 3, "z": 4, "y": 6}
    pool = ModelPool(loader, 9, 10, lambda weights: sizes[weights.store_path])
    seen = {}
    ending = {name: threading.Event() for name in ("x", "y", "z")}
    entered = {name: threading.Event() for name in ("x", "y", "z")}

    def use(name):
        with pool.using(Weights(name)) as responder:
            seen[name] = responder
            entered[name].set()
            assert ending[name].wait(10)

    threads = []
    for name in ("x", "z", "y"):
        threads.append(threading.Thread(target=use, args=(name,)))
        threads[-1].start()
        assert entered[name].wait(0.2) is (name != "y")
    # By now y's patience is over and x is to leave, but it is z that ends.
    ending["z"].set()
    assert entered["y"].wait(5)
    with pool.using(Weights("x")) as again:
        assert again is seen["x"]
    ending["x"].set()
    ending["y"].set()
    for thread in threads:
        thread.join()
    pool.close()
    assert loader.loaded == ["x", "z", "y"]
    assert all(responder.is_closed for responder in seen.values())


def test_a_model_that_broke_down_is_closed_by_the_last_of_its_users():
    pool = ModelPool(Loader(), 2)
    with pool.using(Weights("a")) as broken:
        broken.is_alive = False
        with pool.using(Weights("a")) as other:
            assert not broken.is_closed
    assert broken.is_closed
    assert not other.is_closed


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("place", ["first", "behind it", "for the same model"])
def test_who_is_to_stop_waits_no_longer_and_loads_nothing(place):
    loader = Loader()
    pool = ModelPool(loader, 9, 100, lambda weights: SIZES[weights.store_path])
    ending, errors = threading.Event(), []

    def check():
        if ending.is_set():
            raise StoppedError

    def ask(name, check):
        try:
            with pool.using(Weights(name), check):
                pass
        except StoppedError as exc:
            errors.append(exc)

    waiting = []
    with pool.using(Weights("a")), pool.using(Weights("b")):
        if place != "first":
            waiting.append(threading.Thread(target=ask, args=("c", lambda: None)))
            waiting[0].start()
            time.sleep(0.1)
        name = "c" if place == "for the same model" else "huge"
        stopped = threading.Thread(target=ask, args=(name, check))
        stopped.start()
        time.sleep(0.1)
        ending.set()
        stopped.join(5)
        assert not stopped.is_alive()
        assert len(errors) == 1
        assert loader.loaded == ["a", "b"]
    for thread in waiting:
        thread.join(5)
    assert loader.loaded == ["a", "b", "c"][: 2 + len(waiting)]


def test_a_server_is_asked_while_a_model_waits_for_room():
    pool = ModelPool(Loader(), 9, 100, lambda w: {**SIZES, "server": 0}[w.store_path])
    with pool.using(Weights("a")), pool.using(Weights("b")):
        waiting = threading.Thread(target=lambda: pool.using(Weights("c")).__enter__())
        waiting.start()
        time.sleep(0.1)
        entered = threading.Event()

        def ask():
            with pool.using(Weights("server")):
                entered.set()

        asking = threading.Thread(target=ask)
        asking.start()
        assert entered.wait(5)
        asking.join()
    waiting.join(5)
    pool.close()


def test_what_was_reserved_for_a_model_that_cannot_be_loaded_is_free_again():
    pool = ModelPool(Loader(), 9, 100, lambda _weights: 100)
    with pytest.raises(ModelUnreadableError), pool.using(Weights("damaged")):
        pass
    with pool.using(Weights("a")):
        pass


def test_the_size_of_a_model_is_known_before_it_is_loaded(tiny_gpt2_folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_gpt2_folder)
    expected = sum(weight.numel() for weight in model.parameters())
    # The head is laid out anew, and the embedding that it shares its weights with stays.
    expected += model.get_output_embeddings().weight.numel()
    assert weight_bytes(tiny_gpt2_folder, "cpu", "auto") == 4 * expected
    assert weight_bytes(tiny_gpt2_folder, "cpu", "int8") == 4 * expected
    untied = AutoModelForCausalLM.from_pretrained(tiny_gpt2_folder, tie_word_embeddings=False)
    untied.save_pretrained(tmp_path)
    assert weight_bytes(tmp_path, "cpu", "auto") == 4 * expected
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelUnreadableError):
        weight_bytes(tmp_path, "cpu", "auto")


@pytest.mark.parametrize("folder", ["tiny_gpt2_folder", "tiny_llama_folder"])
def test_a_model_folder_answers_a_conversation_longer_than_its_window(folder, request):
    responder = load_responder(
        request.getfixturevalue(folder),
        GenerationSettings(device="cpu", dtype="float32"),
        ChatSettings(),
        no_fetch,
    )
    said = tuple(Utterance("user", "Alice", f"hello {i} " * 20) for i in range(30))
    stream = responder.ask(Ask("r", said, GREEDY, Weights("models/tiny/1"), Standing()))
    assert list(stream)[-1].finish in {FinishReason.LENGTH, FinishReason.STOP}
    idle = {"running": 0, "waiting": 0, "cache_tokens": 0, "adapters": 0}
    deadline = time.monotonic() + 10
    while responder.describe() != {"device": "cpu", "dtype": "float32", **idle}:
        assert time.monotonic() < deadline, responder.describe()
        time.sleep(0.01)
    responder.close()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_versions_over_a_base_answer_beside_it_and_a_bad_one_fails_alone(
    tiny_gpt2_folder, tmp_path
):
    folders = {str(i): save_adapter(tiny_gpt2_folder, tmp_path / str(i), seed=i) for i in (1, 2)}
    folders["bad"] = save_adapter(tiny_gpt2_folder, tmp_path / "bad")
    (folders["bad"] / "adapter_model.safetensors").write_bytes(b"damaged")
    fetched = []

    def fetch(path, sha256):
        if path not in folders:
            raise VersionMissingError(path)
        fetched.append((path, sha256))
        return folders[path]

    generation = GenerationSettings(device="cpu", adapters_max_bytes=1)
    responder = load_responder(tiny_gpt2_folder, generation, ChatSettings(), fetch)
    said = (Utterance("user", "Alice", "hello"),)

    def answer(weights):
        stream = responder.ask(Ask("r", said, GREEDY, weights, Standing()))
        return "".join(chunk.text for chunk in stream)

    base = Weights("base")
    one, two, bad = (Weights(name, "base", name * 3) for name in ("1", "2", "bad"))
    texts = [answer(weights) for weights in (base, one, two)]
    assert len(set(texts)) == 3
    with pytest.raises(AdapterRefusedError, match="bad is refused"):
        answer(bad)
    with pytest.raises(VersionMissingError):
        answer(Weights("unknown", "base"))
    assert [answer(weights) for weights in (base, one, two)] == texts
    # There was room for one at a time.
    assert fetched == [("1", "111"), ("2", "222"), ("bad", "badbadbad"), ("1", "111"), ("2", "222")]
    assert responder.describe()["adapters"] == 1
    responder.close()

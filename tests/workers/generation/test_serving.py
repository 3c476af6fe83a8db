import threading
import time

import pytest

from core.conversations.answers import Utterance, Weights
from core.settings import ChatSettings, GenerationSettings
from workers.generation.errors import ModelUnreadableError
from workers.generation.protocol import FinishReason, Sampling
from workers.generation.responder import load_responder
from workers.generation.serving import ModelPool


class CountingResponder:
    """Knows its name and whether it was closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_closed = False
        self.is_alive = True

    def ask(self, request_id, utterances, sampling):
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


@pytest.mark.parametrize("folder", ["tiny_gpt2_folder", "tiny_llama_folder"])
def test_a_model_folder_answers_a_conversation_longer_than_its_window(folder, request):
    responder = load_responder(
        request.getfixturevalue(folder), None, GenerationSettings(device="cpu"), ChatSettings()
    )
    said = tuple(Utterance("user", "Alice", f"hello {i} " * 20) for i in range(30))
    stream = responder.ask("r", said, Sampling(max_new_tokens=5, temperature=0.0))
    assert list(stream)[-1].finish in {FinishReason.LENGTH, FinishReason.STOP}
    idle = {"running": 0, "waiting": 0, "cache_tokens": 0}
    deadline = time.monotonic() + 10
    while responder.describe() != {"device": "cpu", "dtype": "torch.float32", **idle}:
        assert time.monotonic() < deadline, responder.describe()
        time.sleep(0.01)
    responder.close()

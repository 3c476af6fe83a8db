"""A small corpus, prepared once, and runs over the tiny models."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from workers.finetuning.corpus.files import CorpusFile
from workers.finetuning.corpus.preparing import prepare_corpus
from workers.finetuning.spec import RunSpec
from workers.finetuning.training import fine_tune
from workers.finetuning.wishes import Wish, Wishes


def pytest_collection_modifyitems(items):
    """PEFT still reads a property that transformers has renamed."""
    mark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is:FutureWarning")
    for item in items:
        if "tests/workers/finetuning" in item.path.as_posix():
            item.add_marker(mark)


@pytest.fixture(scope="session")
def pairs_corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    records = [
        {"prompt": f"Colour {i} of {chr(97 + i % 26) * 3}?", "completion": f"It is {i * 7}."}
        for i in range(40)
    ]
    source = folder / "pairs.jsonl"
    source.write_text("\n".join(map(json.dumps, records)))
    prepare_corpus([CorpusFile(source, "pairs.jsonl")], folder / "corpus")
    return folder / "corpus"


@dataclass
class Recorder:
    """Keeps events; can wish for something at a step."""

    wishes: Wishes = field(default_factory=Wishes)
    at_step: int = -1
    wish: Wish = Wish.PAUSE
    events: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, event: str, **fields: Any) -> None:
        json.dumps(fields)
        self.events.append({"event": event, **fields})
        if event == "step" and fields["step"] == self.at_step:
            self.wishes.want(self.wish)

    def of(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one["event"] == event]

    @property
    def losses(self) -> dict[int, float]:
        return {one["step"]: one["loss"] for one in self.of("step")}


@pytest.fixture
def make_spec(pairs_corpus):
    def make(base: Path, **options: Any) -> RunSpec:
        defaults = {
            "block_size": 64,
            "batch_size": 4,
            "micro_batch_size": 2,
            "max_steps": 6,
            "evaluate_every": 3,
            "learning_rate": 1e-2,
            "sample_max_new_tokens": 4,
            "device": "cpu",
            "torch_threads": 1,
        }
        folders = {"base_model": str(base), "corpus": str(pairs_corpus)}
        return RunSpec(**{**folders, **defaults, **options})

    return make


@pytest.fixture
def run(tmp_path):
    """Runs a spec in a folder of the test's own and returns the recorder."""

    def start(spec: RunSpec, recorder: Recorder | None = None, folder: str = "run") -> Recorder:
        recorder = recorder or Recorder()
        run_dir = tmp_path / folder
        run_dir.mkdir(exist_ok=True)
        fine_tune(spec, run_dir, recorder, recorder.wishes)
        return recorder

    return start

"""Validations with a real store, a real ledger and a real child process."""

import hashlib
import json
import math
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from safetensors.torch import load_file

from core.corpora.boards import BoardView, open_boards
from core.corpora.searches import SearchSpec
from core.corpora.submissions import cancel_finetune, conclude_validations, start_finetune
from core.corpora.uploads import Uploads
from core.db.desk import Desk
from core.ids import new_id
from models_store.store import ModelStore
from tests.core.corpora.helpers import add_version, run, submit
from tests.workers.ledger_helpers import read_job
from workers.finetuning.base_tokenizer import load_tokenizer
from workers.finetuning.corpus.prepared import hash_prepared
from workers.finetuning.data import pack_splits
from workers.finetuning.encoding import ExampleEncoder
from workers.leases import LeaseKeeper, StopReason
from workers.runner import JobRunner
from workers.upkeep.loop import conclude_once
from workers.validation import validating
from workers.validation.child import REQUEST, RESULT
from workers.validation.validating import Validator, ValidatorParts

# A child takes seconds to start, and several times that on a busy machine.
pytestmark = pytest.mark.timeout(300)

PAIRS = "".join(
    json.dumps({"prompt": f"Colour {i} of {chr(97 + i % 26) * 3}?", "completion": f"It is {i}."})
    + "\n"
    for i in range(40)
).encode()


class Bench:
    """Everything but Discord, Celery and the trainer."""

    def __init__(self, engine, tmp_path, base_folder, **parts) -> None:
        self.engine = engine
        url = f"file://{tmp_path / 'store'}"
        self.uploads = Uploads(url)
        self.store = ModelStore(url, tmp_path / "cache", 10**9)
        self.desk = Desk(engine)
        self.desk.start()
        self.scratch = tmp_path / "validations"
        self.parts = ValidatorParts(
            self.desk, self.store, self.uploads, self.scratch, "You are Coco.", **parts
        )
        self.start_worker()
        weights = load_file(base_folder / "model.safetensors")
        self.base_parameters = sum(one.numel() for one in weights.values())
        base = self.store.publish(base_folder, "models/base/1", {})
        self.base_id = add_version(
            engine, store_path=base.path, manifest_sha256=base.manifest_sha256
        )

    def start_worker(self) -> None:
        self.keeper = LeaseKeeper(self.engine, "w", "upkeep", 30.0)
        self.keeper.start()
        self.runner = JobRunner(
            self.desk,
            self.keeper,
            isolate_after_crashes=2,
            work=Validator(self.parts).validate,
            ended=lambda _claim: None,
        )

    def close(self) -> None:
        self.keeper.close()
        self.desk.close()

    def submit(
        self, content: bytes, name: str = "pairs.jsonl", *, judged_by: bytes = b"", **changes
    ):
        self.corpus_id = new_id()
        files = [self._take(0, content, name, is_validation=False)]
        if judged_by:
            files.append(self._take(1, judged_by, "judge.jsonl", is_validation=True))
        return submit(self.engine, self.base_id, *files, corpus_id=self.corpus_id, **changes)

    def _take(self, number: int, content: bytes, name: str, *, is_validation: bool):
        writer = self.uploads.open(self.corpus_id, number)
        writer.write(content)
        taken = writer.finish(name, is_validation=is_validation)
        assert taken.sha256 == hashlib.sha256(content).hexdigest()
        return taken

    def board(self) -> BoardView:
        (view,) = run(self.engine, open_boards, ("bot-0",))
        return view

    def raw_files(self, tmp_path):
        return [f for f in (tmp_path / "store").rglob("*") if self.corpus_id in f.as_posix()]


# The child's own beginning, before the request is read, which here waits for a word.
WAITING = """
import sys
from pathlib import Path
from workers.validation import child

class Words:
    def loads(self, text):
        print("ready", flush=True)
        sys.stdin.readline()
        print("alive", flush=True)
        raise SystemExit

child.json = Words()
child._end_with_parent = lambda stream: None
Path.read_text = lambda *_, **__: ""
child.main(Path(sys.argv[1]))
"""


@pytest.fixture
def bench(engine, tmp_path, tiny_gpt2_folder):
    bench = Bench(engine, tmp_path, tiny_gpt2_folder)
    yield bench
    bench.close()


def test_an_upload_becomes_a_published_corpus_with_its_report_and_plan(bench, tmp_path):
    submitted = bench.submit(PAIRS)
    bench.runner.run(submitted.validation_id)
    view = bench.board()
    assert view.state == "validating"
    assert view.report["files"] == ["pairs.jsonl"]
    assert view.report["examples"] == 40
    assert view.report["tokens"] > view.report["trained_tokens"] > 0
    assert view.payload["plan"]["steps"] > 0
    assert view.payload["plan"]["judging_between_steps"] > 0
    assert view.payload["plan"]["parameters"] == bench.base_parameters
    corpus = bench.store.fetch(view.payload["corpus_path"])
    assert hash_prepared(corpus) == view.report["sha256"]
    assert [f for f in bench.raw_files(tmp_path) if "uploads" in f.as_posix()] == []
    assert list(bench.scratch.iterdir()) == []
    assert run(bench.engine, start_finetune, submitted.job_id)


def test_the_plan_of_a_small_corpus_counts_the_holes_of_its_rows(bench, tiny_gpt2_folder):
    submitted = bench.submit(PAIRS, options={"block_size": 128, "batch_size": 1, "epochs": 1})
    bench.runner.run(submitted.validation_id)
    plan = bench.board().payload["plan"]
    corpus = bench.store.fetch(bench.board().payload["corpus_path"])
    encoder = ExampleEncoder(load_tokenizer(tiny_gpt2_folder), 128, "You are Coco.")
    rows = pack_splits(corpus, encoder, block_size=128, pad_id=0, max_evaluation_rows=1).train
    assert plan["steps"] == len(rows) > math.ceil(plan["tokens"] / 128)


def test_a_search_with_nothing_to_judge_its_trials_by_is_refused_at_once(bench):
    search = {"trials": 2, "sampler": "random", "space": {"lora_rank": {"choices": [4, 8]}}}
    submitted = bench.submit(PAIRS, validation_share=0.0, search=SearchSpec.from_json(search))
    bench.runner.run(submitted.validation_id)
    job = read_job(bench.engine, submitted.validation_id)
    assert job.state == "failed"
    assert job.error_code == "training-search-validation"


def test_a_file_to_judge_by_is_what_the_run_is_judged_by(bench):
    judge = b"".join(b'{"prompt": "Who %d?", "completion": "Me."}\n' % i for i in range(3))
    submitted = bench.submit(PAIRS, judged_by=judge)
    bench.runner.run(submitted.validation_id)
    report = bench.board().report
    assert report["files"] == ["pairs.jsonl", "judge.jsonl"]
    counts = {name: split["documents"] for name, split in report["splits"].items()}
    assert counts == {"train": 38, "validation": 3, "test": 2}


def test_a_corpus_in_another_language_than_the_base_s_has_a_warning(bench, tmp_path):
    folder = bench.store.fetch("models/base/1")
    spanish = tmp_path / "spanish"
    shutil.copytree(folder, spanish, ignore=shutil.ignore_patterns("manifest.json", ".*"))
    (spanish / "README.md").write_text("---\nlanguage: es\n---\n")
    base = bench.store.publish(spanish, "models/spanish/1", {})
    bench.base_id = add_version(
        bench.engine, "spanish", store_path=base.path, manifest_sha256=base.manifest_sha256
    )
    line = "Le perroquet numéro {} mange des graines de tournesol sous le vieux tilleul."
    french = "".join(json.dumps({"text": line.format(i)}) + "\n" for i in range(20)).encode()
    submitted = bench.submit(french)
    bench.runner.run(submitted.validation_id)
    report = bench.board().report
    assert "other-language" in report["warnings"]


def test_the_share_to_judge_by_is_the_admin_s(bench):
    submitted = bench.submit(PAIRS, validation_share=0.25)
    bench.runner.run(submitted.validation_id)
    report = bench.board().report
    assert report["splits"]["validation"]["documents"] == 10


def test_a_bad_file_is_refused_with_file_line_and_reason(bench, tmp_path):
    submitted = bench.submit(PAIRS + b'{"prompt": "half a\n', "broken.jsonl")
    bench.runner.run(submitted.validation_id)
    conclude_once(bench.engine, bench.uploads)
    job = read_job(bench.engine, submitted.job_id)
    assert (job.state, job.error_code) == ("failed", "corpus")
    data = job.result["error_data"]
    assert (data["file"], data["line"], data["reason"]) == ("broken.jsonl", 41, "json")
    assert bench.raw_files(tmp_path) == []


def test_an_option_out_of_range_is_refused_before_hours_are_spent(bench):
    submitted = bench.submit(PAIRS, options={"epochs": -1})
    bench.runner.run(submitted.validation_id)
    run(bench.engine, conclude_validations)
    job = read_job(bench.engine, submitted.job_id)
    assert (job.error_code, job.result) == (
        "training-option",
        {"error_data": {"option": "epochs"}},
    )


def test_an_upload_that_is_gone_is_said_to_be_lost(bench):
    submitted = bench.submit(PAIRS)
    bench.uploads.remove(bench.corpus_id)
    bench.runner.run(submitted.validation_id)
    assert read_job(bench.engine, submitted.validation_id).error_code == "upload-lost"


def test_a_child_that_is_lost_ends_the_job_and_leaves_nothing(bench, monkeypatch):
    monkeypatch.setattr(validating, "RESULT", "never-written.json")
    submitted = bench.submit(PAIRS)
    bench.runner.run(submitted.validation_id)
    assert read_job(bench.engine, submitted.validation_id).error_code == "validation-died"
    assert list(bench.scratch.iterdir()) == []
    assert bench.store.list_versions() == ["models/base/1"]


def test_a_corpus_that_takes_too_long_is_given_up(engine, tmp_path, tiny_gpt2_folder):
    bench = Bench(engine, tmp_path, tiny_gpt2_folder, timeout_seconds=0.05)
    submitted = bench.submit(PAIRS)
    bench.runner.run(submitted.validation_id)
    assert read_job(engine, submitted.validation_id).error_code == "validation-timeout"
    bench.close()


def test_what_was_cancelled_meanwhile_leaves_no_corpus_behind(bench, monkeypatch):
    submitted = bench.submit(PAIRS)
    real = validating.Validator._publish

    def cancel_first(self, *arguments):
        run(bench.engine, cancel_finetune, submitted.job_id)
        real(self, *arguments)

    monkeypatch.setattr(validating.Validator, "_publish", cancel_first)
    bench.runner.run(submitted.validation_id)
    assert read_job(bench.engine, submitted.validation_id).state == "cancelled"
    assert bench.store.list_versions() == ["models/base/1"]


def test_a_drained_validation_goes_back_unharmed_and_is_done_again(bench):
    submitted = bench.submit(PAIRS)
    thread = threading.Thread(target=bench.runner.run, args=(submitted.validation_id,))
    thread.start()
    deadline = time.monotonic() + 60
    while not list(bench.scratch.glob("*/request.json")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    bench.keeper.stop_all(StopReason.DRAINED)
    thread.join(60)
    job = read_job(bench.engine, submitted.validation_id)
    assert (job.state, job.crashes, job.dispatched_at) == ("queued", 0, None)
    assert list(bench.scratch.iterdir()) == []
    # A process that drains takes nothing any more; its successor does.
    bench.keeper.close()
    bench.start_worker()
    bench.runner.run(submitted.validation_id)
    assert bench.board().is_read


def test_a_signal_to_the_whole_group_does_not_end_the_child(tmp_path):
    (tmp_path / REQUEST).mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout.readline() == b"ready\n"
        child.terminate()
        child.send_signal(signal.SIGINT)
        child.stdin.write(b"on\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"alive\n"
        child.kill()


def test_the_child_ends_with_its_parent(tmp_path):
    (tmp_path / REQUEST).write_text("{}")
    ended = subprocess.run(
        [sys.executable, "-m", "workers.validation.child", str(tmp_path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert not (tmp_path / RESULT).exists()

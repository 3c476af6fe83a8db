"""``perroquet generate`` with a real engine, ledger and broker; only the processes are one."""

import json
import threading
from contextlib import contextmanager

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from cli import generate as module
from cli.chat.running import Running
from cli.main import app
from core.db.desk import Desk
from core.db.tables import Job
from core.errors import NotFoundError, PerroquetError, WrongUsageError
from core.settings import ChatSettings, GenerationSettings, RedisSettings, Settings
from tests.core.corpora.helpers import GUILD, add_version
from workers.generation.answering import Answerer
from workers.generation.responder import load_responder
from workers.generation.serving import ModelPool
from workers.leases import LeaseKeeper
from workers.runner import JobRunner

GENERATION = GenerationSettings(device="cpu", torch_threads=1, model="tiny")
DELIMITER = "=" * 20


@pytest.fixture
def worker(shell_engine, valkey, tiny_gpt2_folder, monkeypatch):
    """A generation worker on threads, which takes jobs from SQL as the relay would send them."""
    add_version(shell_engine, "tiny")
    desk = Desk(shell_engine)
    desk.start()
    keeper = LeaseKeeper(shell_engine, "w", "generate", 20.0)
    keeper.start()
    load = lambda _weights: load_responder(tiny_gpt2_folder, GENERATION, ChatSettings(), None)  # noqa: E731
    pool = ModelPool(load, 1)
    answerer = Answerer(desk, pool, None, GENERATION, ChatSettings())
    runner = JobRunner(
        desk, keeper, isolate_after_crashes=2, brief=answerer.brief, work=answerer.answer,
        ended=answerer.announce_end,
    )  # fmt: skip
    ended = threading.Event()

    def serve() -> None:
        query = select(Job.id).where(Job.state == "queued").order_by(Job.id)
        while not ended.wait(0.02):
            with Session(shell_engine) as session:
                waiting = session.scalars(query).all()
            threads = [threading.Thread(target=runner.run, args=(one,)) for one in waiting]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    redis = RedisSettings(url=valkey.url, key_prefix=valkey.key_prefix)
    settings = Settings(redis=redis, generation=GENERATION)

    @contextmanager
    def running(_settings, _screen):
        yield Running(settings, shell_engine, lambda: None)

    monkeypatch.setattr(module, "running", running)
    thread = threading.Thread(target=serve)
    thread.start()
    yield shell_engine
    ended.set()
    thread.join()
    pool.close()
    keeper.close()
    desk.close()


def generate(*arguments: str):
    return CliRunner().invoke(app, ["generate", *arguments])


def texts(done) -> list[str]:
    assert done.exit_code == 0, done.output
    return done.stdout[:-1].split(f"\n{DELIMITER}\n")


def test_texts_begin_with_the_prefix_and_a_seed_repeats_them(worker):
    order = ("Welcome to", "-n", "3", "--batch", "2", "--length", "12", "--seed", "5")
    first = texts(generate(*order))
    assert len(first) == len(set(first)) == 3
    assert all(text.startswith("Welcome to") for text in first)
    assert texts(generate(*order)) == first
    # The second text of a seed is the first one of the next.
    assert texts(generate("Welcome to", "--length", "12", "--seed", "6")) == [first[1]]
    bare = texts(generate(*order, "--no-prefix"))
    assert ["Welcome to" + text for text in bare] == first


def test_sampling_reaches_the_job(worker):
    done = generate(
        "Hi", "--length", "6", "--min-length", "6", "--temperature", "1.5", "--top-k", "7",
        "--top-p", "0.8", "--repetition-penalty", "1.2", "--truncate", "\\n",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    with Session(worker) as session:
        job = session.scalars(select(Job)).one()
        assert job.payload["sampling"] == {
            "max_new_tokens": 6, "min_new_tokens": 6, "temperature": 1.5, "top_k": 7,
            "top_p": 0.8, "repetition_penalty": 1.2, "stop": ["\n"],
        }  # fmt: skip


def test_each_text_can_be_an_object_with_how_likely_its_tokens_were(worker):
    order = ("Hi", "-n", "2", "--length", "5", "--temperature", "0", "--json")
    done = generate(*order, "--logprobs", "2")
    assert done.exit_code == 0, done.output
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["text"].startswith("Hi")
    assert len(first["logprobs"]) == first["tokens"]
    for token in first["logprobs"]:
        likeliest = token.pop("likeliest")
        assert len(likeliest) == 2
        assert token == likeliest[0], "the likeliest is what was taken"
    assert second["text"] == first["text"]
    (plain, _) = map(json.loads, generate(*order).stdout.splitlines())
    assert "logprobs" not in plain


def test_of_a_prefix_that_is_too_long_it_is_said_what_was_not_read(worker):
    done = generate("The parrot. " * 200, "--length", "5", "--json")
    assert done.exit_code == 0, done.output
    unread = json.loads(done.stdout)["unread_tokens"]
    assert f"its first {unread:,} tokens were not read" in " ".join(done.stderr.split())
    assert "unread_tokens" not in json.loads(generate("Hi", "--length", "5", "--json").stdout)


def test_likelihoods_need_a_place(worker):
    assert isinstance(generate("Hi", "--logprobs", "2").exception, WrongUsageError)


def test_a_file_has_all_texts_or_is_not_there(worker, tmp_path):
    target = tmp_path / "texts.txt"
    done = generate("", "-n", "2", "--length", "4", "--to", str(target), "--delimiter", "#")
    assert (done.exit_code, done.stdout) == (0, "")
    assert target.read_text().count("\n#\n") == 1
    failed = generate("", "--length", "4", "--to", str(tmp_path / "no" / "texts.txt"))
    assert isinstance(failed.exception, WrongUsageError)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--temperature", "inf"), WrongUsageError),
        (("--repetition-penalty", "inf"), WrongUsageError),
        (("--truncate", "\udcff"), WrongUsageError),
        (("bad\udcff",), WrongUsageError),
        (("--min-length", "9", "--length", "4"), WrongUsageError),
        (("--model", "ghost"), NotFoundError),
    ],
)
def test_what_cannot_be_written_leaves_no_job(worker, arguments, error):
    done = generate(*arguments)
    assert isinstance(done.exception, error)
    with Session(worker) as session:
        assert not session.scalars(select(Job)).all()


def test_a_server_s_model_is_named_with_its_server(worker):
    own = add_version(worker, "coco", GUILD)
    refused = generate("Hi", "--model", "coco").exception
    assert isinstance(refused, NotFoundError)
    assert f"--guild {GUILD}" in str(refused)
    for arguments in (("--model", "coco"), ("--model", "coco 1")):
        done = generate("Hi", "--length", "4", *arguments, "--guild", str(GUILD))
        assert done.exit_code == 0, done.output
    with Session(worker) as session:
        assert {job.payload["version_id"] for job in session.scalars(select(Job))} == {own}


def test_where_one_text_fails_the_others_are_cancelled(worker, monkeypatch):
    def broken(*_arguments, **_options):
        raise PerroquetError("The device is on fire.")

    monkeypatch.setattr(Answerer, "_sampling", broken)
    done = generate("Hi", "-n", "4", "--batch", "2", "--length", "4")
    assert "on fire" in str(done.exception)
    with Session(worker) as session:
        assert {job.state for job in session.scalars(select(Job))} <= {"failed", "cancelled"}

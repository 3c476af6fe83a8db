"""``perroquet finetune`` up to the job it submits, and what is shown of one."""

import io

import pytest
from rich.console import Console
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from cli.finetune import _WARNINGS
from cli.finetune_options import make_options, make_search
from cli.finetune_watching import FinetuneFailedError, watch_job
from cli.main import app
from core.corpora.searches import NothingToJudgeByError, Sampler
from core.db.tables import Corpus, Job
from core.errors import NotFoundError, PerroquetError, WrongUsageError
from core.jobs.events import record
from core.jobs.ledger import fail, succeed
from tests.core.corpora.helpers import add_version, run
from tests.workers.ledger_helpers import claim_job, read_job, submit_job
from workers.finetuning.corpus.report import Warning_

PAIRS = "input,target\n" + "".join(
    f"Welcome to town {i},Welcome to town {i} of {i + 3} bridges\n" for i in range(20)
)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "welcome.csv"
    path.write_text(PAIRS)
    return path


def finetune(*arguments: str):
    return CliRunner().invoke(app, ["finetune", *arguments])


def test_the_classic_options_reach_the_job(shell_engine, pairs):
    base_id = add_version(shell_engine, "smollm2-135m-instruct")
    done = finetune(
        str(pairs), "--name", "city", "--method", "full", "--steps", "50", "--accumulation", "2",
        "--schedule", "linear", "--warmup-steps", "5", "--weight-decay", "0", "--frozen-layers",
        "1", "--sample-every", "10", "--sample-prefix", "Welcome to", "--save-every", "25",
        "--patience", "0", "--set", "lora_rank=4", "--set", "gradient-checkpointing=yes",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    job = read_job(shell_engine, done.stdout.strip())
    assert job.payload["options"] == {
        "method": "full", "max_steps": 50, "accumulation": 2, "schedule": "linear",
        "warmup_steps": 5, "weight_decay": 0.0, "frozen_layers": 1, "sample_every": 10,
        "sample_prefixes": ["Welcome to"], "save_every": 25, "patience": 0, "lora_rank": 4,
        "gradient_checkpointing": True,
    }  # fmt: skip
    assert (job.payload["base_version_id"], job.payload["model"]) == (base_id, "city")
    assert "search" not in job.payload


def test_what_is_odd_about_a_corpus_is_said_in_sentences(shell_engine, pairs):
    add_version(shell_engine, "smollm2-135m-instruct")
    done = finetune(str(pairs), "--name", "city")
    assert "Warning: there is less than a megabyte of text" in " ".join(done.stderr.split())
    assert set(_WARNINGS) == set(Warning_.__args__)


def test_a_named_version_or_the_newest_is_gone_on_from(shell_engine, pairs):
    first = add_version(shell_engine, "city")
    second = add_version(shell_engine, "city")
    for wanted, version_id in (("latest", second), ("city 1", first), (second, second)):
        done = finetune(str(pairs), "--name", "city", "--restore", wanted)
        assert done.exit_code == 0, done.output
        assert read_job(shell_engine, done.stdout.strip()).payload["base_version_id"] == version_id


def test_a_search_with_nothing_to_judge_its_trials_by_is_refused_at_once(shell_engine, tmp_path):
    add_version(shell_engine, "smollm2-135m-instruct")
    path = tmp_path / "story.txt"
    path.write_text("\n\n".join(" ".join(f"w{i}x{j}" for j in range(200)) for i in range(3)))
    done = finetune(str(path), "--name", "city", "--search", "random", "--trials", "3")
    assert isinstance(done.exception, NothingToJudgeByError)
    with Session(shell_engine) as session:
        assert session.query(Job).count() == session.query(Corpus).count() == 0


def test_a_search_reaches_the_job(shell_engine, pairs):
    add_version(shell_engine, "smollm2-135m-instruct")
    done = finetune(
        str(pairs), "--name", "city", "--search", "grid", "--trials", "3",
        "--space", "learning_rate=1e-4..1e-2:log", "--space", "lora_rank=8,16",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert read_job(shell_engine, done.stdout.strip()).payload["search"] == {
        "trials": 3,
        "sampler": "grid",
        "space": {
            "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "lora_rank": {"choices": [8, 16]},
        },
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epochs", "-1"], "epochs"),
        (["--schedule", "magic"], "schedule"),
        (["--set", "colour=red"], "colour"),
        (["--set", "corpus=/etc"], "corpus"),
        (["--set", "lora_rank"], "name=value"),
        (["--set", "lora_rank=many"], "lora_rank"),
        (["--accumulation", "2", "--batch-size", "4"], "not both"),
        (["--vocabulary-size", "500"], "scratch"),
        (["--space", "lora_rank=8,16"], "--search"),
        (["--search", "grid", "--space", "seed=1,2"], "seed"),
        (["--search", "grid", "--trials", "1"], "trials"),
        (["--search", "grid", "--space", "learning_rate=a..b"], "two numbers"),
        (["--base", "a", "--restore", "latest"], "--base"),
        (["--picture", "curve.png"], "--watch"),
    ],
)
def test_wrong_options_are_told_before_anything_is_read(shell_engine, pairs, arguments, said):
    done = finetune(str(pairs), "--name", "city", *arguments)
    assert isinstance(done.exception, WrongUsageError)
    assert said in str(done.exception)
    assert not run(shell_engine, lambda session: session.query(Job).count())


def test_no_steps_at_all_are_refused_and_not_taken_for_the_usual_number(shell_engine, pairs):
    done = finetune(str(pairs), "--name", "city", "--steps", "0")
    assert done.exit_code == 2
    assert not run(shell_engine, lambda session: session.query(Job).count())


def test_a_base_or_version_that_is_not_there_is_named(shell_engine, pairs):
    for arguments in (["--base", "ghost"], ["--restore", "ghost 3"]):
        done = finetune(str(pairs), "--name", "city", *arguments)
        assert isinstance(done.exception, PerroquetError)
        assert "ghost" in str(done.exception)
    assert isinstance(done.exception, NotFoundError)
    assert not run(shell_engine, lambda session: session.query(Corpus).count())


def test_training_from_scratch_trains_all_weights():
    assert make_options({"method": "full", "from_scratch": True}, ["vocabulary_size=600"]) == {
        "method": "full", "from_scratch": True, "vocabulary_size": 600,
    }  # fmt: skip
    search = make_search("random", 5, (), {"method": "full"})
    assert (search.sampler, search.trials) == (Sampler.RANDOM, 5)
    assert "weight_decay" in search.space


def evaluated(loss):
    return {"loss": loss, "perplexity": 2.0**loss, "tokens": 10}


METRICS = {
    "base": {"validation": evaluated(4.0), "distinct_1": 0.5, "distinct_2": 0.9, "repetition": 0.1},
    "tuned": {"validation": evaluated(1.0), "distinct_1": 0.6, "distinct_2": 0.8, "repetition": 0},
    "steps": 6, "planned_steps": 6, "train_seconds": 1.5, "ending": "finished",
}  # fmt: skip


def watched(engine, job_id, picture=None) -> str:
    console = Console(file=io.StringIO(), width=120)
    watch_job(engine, console, job_id, picture)
    return console.file.getvalue()


def test_the_end_of_a_search_is_a_table_and_a_picture(shell_engine, tmp_path):
    job_id = submit_job(shell_engine)
    claim = claim_job(shell_engine, job_id, "w")
    for number, loss in enumerate((2.0, 1.0)):
        options = {"learning_rate": 10.0**-number}
        run(shell_engine, record, job_id, "trial_began", number=number, options=options)
        for step in (3, 6):
            run(shell_engine, record, job_id, "trial_evaluated", number=number, step=step,
                loss=loss + 6 - step)  # fmt: skip
        run(shell_engine, record, job_id, "trial_ended", number=number, state="complete",
            loss=loss, seconds=1.0)  # fmt: skip
    run(shell_engine, succeed, claim, {"version_id": "v", "metrics": METRICS})
    picture = tmp_path / "curve.png"
    shown = watched(shell_engine, job_id, picture)
    assert "learning_rate 0.1" in shown
    assert "16.00" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_failure_is_the_workers_sentence(shell_engine):
    job_id = submit_job(shell_engine)
    claim = claim_job(shell_engine, job_id, "w")
    run(shell_engine, fail, claim, PerroquetError("The loss is no number any more."))
    with pytest.raises(FinetuneFailedError, match="no number"):
        watched(shell_engine, job_id)

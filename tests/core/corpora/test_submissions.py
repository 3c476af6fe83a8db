import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.corpora.boards import close_board, open_boards, record_message, reopen_board
from core.corpora.speed import measured_speed, rough_speed
from core.corpora.submissions import (
    NotReadYetError,
    PreparedCorpus,
    accept_corpus,
    cancel_finetune,
    conclude_validations,
    load_validation,
    start_finetune,
)
from core.db.tables import Corpus, Job
from core.errors import InvalidInputError, NotFoundError
from core.jobs.ledger import fail, request_cancel, succeed
from core.jobs.presence import announce
from tests.core.corpora.helpers import GUILD, OTHER_GUILD, add_version, run, submit
from tests.workers.ledger_helpers import claim_job, read_job

PREPARED = PreparedCorpus(
    "corpora/x", "d" * 64, "b" * 64, 99, {"documents": 3}, {"steps": 8, "tokens": 700}
)


def corpora(engine):
    with Session(engine, expire_on_commit=False) as session:
        return list(session.scalars(select(Corpus)))


@pytest.fixture
def base(any_engine):
    return add_version(any_engine)


@pytest.fixture
def submitted(any_engine, base):
    return submit(any_engine, base)


def test_an_upload_waits_for_its_reading_and_then_for_its_admin(any_engine, submitted):
    with pytest.raises(NotReadYetError):
        run(any_engine, start_finetune, submitted.job_id)
    taken = claim_job(any_engine, submitted.validation_id)
    work = run(any_engine, load_validation, taken)
    assert (work.finetune_id, work.files[0].name) == (submitted.job_id, "a.jsonl")
    assert run(any_engine, accept_corpus, taken, PREPARED)

    (view,) = run(any_engine, open_boards, ("bot-0",))
    assert (view.state, view.is_read, view.report) == ("validating", True, {"documents": 3})
    (corpus,) = corpora(any_engine)
    assert (corpus.store_path, corpus.sha256, corpus.total_bytes) == ("corpora/x", "b" * 64, 99)

    assert run(any_engine, start_finetune, submitted.job_id, Job.guild_id == GUILD)
    assert not run(any_engine, start_finetune, submitted.job_id), "a second press changes nothing"
    claimed = claim_job(any_engine, submitted.job_id)
    assert claimed.payload["corpus_path"] == "corpora/x"


def test_nobody_of_another_guild_starts_or_cancels_it(any_engine, submitted):
    taken = claim_job(any_engine, submitted.validation_id)
    run(any_engine, accept_corpus, taken, PREPARED)
    for change in (start_finetune, cancel_finetune):
        with pytest.raises(NotFoundError):
            run(any_engine, change, submitted.job_id, Job.guild_id == OTHER_GUILD)
        with pytest.raises(NotFoundError):
            run(any_engine, change, submitted.validation_id, Job.guild_id == GUILD)
    assert read_job(any_engine, submitted.job_id).state == "validating"


def test_a_refused_corpus_fails_the_fine_tune_with_the_same_words(any_engine, submitted):
    assert run(any_engine, conclude_validations) == []
    error = InvalidInputError("a.jsonl, line 3: bad.", file="a.jsonl", line=3)
    corpus_id = corpora(any_engine)[0].id
    run(any_engine, fail, claim_job(any_engine, submitted.validation_id), error)
    assert run(any_engine, conclude_validations) == [corpus_id]
    job = read_job(any_engine, submitted.job_id)
    assert (job.state, job.error_code) == ("failed", "invalid-input")
    assert job.result == {"error_data": {"file": "a.jsonl", "line": 3}}
    assert corpora(any_engine) == []
    assert run(any_engine, conclude_validations) == []


def test_a_validation_that_was_given_up_ends_the_fine_tune(any_engine, submitted):
    run(any_engine, request_cancel, submitted.validation_id)
    assert len(run(any_engine, conclude_validations)) == 1
    assert read_job(any_engine, submitted.job_id).state == "cancelled"


def test_cancelling_while_it_is_read_drops_what_the_reading_finds(any_engine, submitted):
    taken = claim_job(any_engine, submitted.validation_id)
    corpus_id = corpora(any_engine)[0].id
    assert run(any_engine, cancel_finetune, submitted.job_id) == corpus_id
    assert corpora(any_engine) == []
    assert read_job(any_engine, submitted.validation_id).cancel_requested
    with pytest.raises(Exception, match="cancelled"):
        run(any_engine, accept_corpus, taken, PREPARED)


def test_a_corpus_that_nobody_awaits_any_more_is_said_to_be_so(any_engine, submitted):
    taken = claim_job(any_engine, submitted.validation_id)
    run(any_engine, request_cancel, submitted.job_id)
    assert run(any_engine, accept_corpus, taken, PREPARED) is False
    assert read_job(any_engine, submitted.validation_id).state == "succeeded"


def test_a_board_is_remembered_until_it_is_closed(any_engine, submitted):
    run(any_engine, record_message, submitted.job_id, 77)
    (view,) = run(any_engine, open_boards, ("bot-0",))
    assert (view.message_id, view.is_read, view.progress) == (77, False, {})
    assert run(any_engine, open_boards, ("bot-1",)) == []
    assert run(any_engine, close_board, submitted.job_id)
    assert not run(any_engine, close_board, submitted.job_id)
    assert run(any_engine, open_boards, ("bot-0",)) == []
    run(any_engine, reopen_board, submitted.job_id)
    (view,) = run(any_engine, open_boards, ("bot-0",))
    assert view.message_id == 77


def test_the_speed_of_one_guild_says_nothing_to_another(any_engine, base, submitted):
    run(any_engine, accept_corpus, claim_job(any_engine, submitted.validation_id), PREPARED)
    run(any_engine, start_finetune, submitted.job_id)
    metrics = {
        "method": "lora",
        "train_seconds": 10.0,
        "train_tokens": 500,
        "epochs": 2.0,
        "steps": 20,
        "planned_steps": 40,
    }
    run(any_engine, succeed, claim_job(any_engine, submitted.job_id), {"metrics": metrics})
    assert run(any_engine, measured_speed, GUILD, base, "lora") == pytest.approx(50.0)
    assert run(any_engine, measured_speed, GUILD, base, "full") is None
    assert run(any_engine, measured_speed, OTHER_GUILD, base, "lora") is None


def test_before_the_first_run_the_device_says_how_fast_it_may_be(any_engine):
    plan = {"parameters": 100_000_000}
    assert run(any_engine, rough_speed, plan, "lora") is None, "nobody works"
    run(any_engine, announce, "answering", "generate", {"device": "Some GPU (cuda:0)"})
    assert run(any_engine, rough_speed, plan, "lora") is None, "what answers trains not"
    run(any_engine, announce, "slow", "finetune", {"device": "cpu"})
    slow = run(any_engine, rough_speed, plan, "full")
    assert run(any_engine, rough_speed, plan, "lora") == pytest.approx(slow * 1.5)
    run(any_engine, announce, "fast", "finetune", {"device": "cuda"})
    assert run(any_engine, rough_speed, plan, "full") > 100 * slow
    assert run(any_engine, rough_speed, {}, "full") is None

"""What becomes of published weights when the end of their job cannot be written for sure."""

import time

import pytest
from sqlalchemy.exc import OperationalError

from core.conversations.utterances import Weights
from core.db.desk import Desk
from core.errors import LeaseLostError
from core.jobs.ledger import succeed
from core.jobs.states import JobKind
from core.settings import FinetuningSettings
from models_store.store import ModelStore
from tests.core.corpora.helpers import add_version
from tests.workers.ledger_helpers import claim_job, read_job, set_job, submit_job
from workers.finetuning.running import Finetuner, _Origin, _Result
from workers.finetuning.spec import RunSpec
from workers.leases import HeldJob
from workers.runner import OutcomeUnknownError, write_within_lease


class MuteDesk(Desk):
    """Commits, and then loses the connection before it can say so, so many times."""

    losses = 1

    def hand_in(self, work):
        outcome = super().hand_in(work)
        if self.losses == 0:
            return outcome
        self.losses -= 1
        outcome.result()
        return super().hand_in(lambda _session: lose_connection())


def lose_connection():
    raise OperationalError("COMMIT", {}, OSError("gone"))


@pytest.fixture
def mute_desk(engine):
    desk = MuteDesk(engine)
    desk.start()
    yield desk
    desk.close()


@pytest.fixture
def store(tmp_path):
    return ModelStore(f"file://{tmp_path / 'store'}", tmp_path / "cache", 10**9)


def hold(engine, seconds: float) -> HeldJob:
    payload = {"model": "coco", "base_version_id": add_version(engine)}
    job_id = submit_job(engine, JobKind.FINETUNE, **payload)
    return HeldJob(claim_job(engine, job_id), time.monotonic() + seconds)


def publish(desk, store, held, tmp_path) -> None:
    folder = tmp_path / "run" / "published"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    finetuner = Finetuner(desk, store, tmp_path, FinetuningSettings(), "")
    origin = _Origin(Weights("models/base/1"), held.claim.payload["base_version_id"], "base")
    result = _Result(folder, RunSpec(base_model="b", corpus="c"), {}, {})
    finetuner._publish(held, origin, result)


def test_weights_that_a_row_names_stay_when_the_database_goes_before_it_says_so(
    engine, mute_desk, store, tmp_path
):
    held = hold(engine, seconds=-1)
    with pytest.raises(OutcomeUnknownError):
        publish(mute_desk, store, held, tmp_path)
    assert read_job(engine, held.claim.job_id).state == "succeeded"
    assert store.list_versions() == [f"models/coco/{held.claim.job_id}-1"]


def test_weights_that_the_fence_refused_go_at_once(engine, mute_desk, store, tmp_path):
    mute_desk.losses = 0
    held = hold(engine, seconds=20)
    set_job(engine, held.claim.job_id, token=2)
    with pytest.raises(LeaseLostError) as caught:
        publish(mute_desk, store, held, tmp_path)
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert store.list_versions() == []


def test_a_fence_that_refuses_the_second_try_does_not_deny_the_first(engine, mute_desk):
    held = hold(engine, seconds=20)
    with pytest.raises(OutcomeUnknownError):
        write_within_lease(mute_desk, held, lambda s: succeed(s, held.claim, {"text": "done"}))
    assert read_job(engine, held.claim.job_id).result == {"text": "done"}


def test_a_try_that_surely_failed_is_repeated(engine, mute_desk):
    mute_desk.losses = 0
    held = hold(engine, seconds=20)
    tries = []

    def fail_once(session):
        tries.append(1)
        if len(tries) == 1:
            lose_connection()
        succeed(session, held.claim, {"text": "done"})

    write_within_lease(mute_desk, held, fail_once)
    assert read_job(engine, held.claim.job_id).state == "succeeded"
    assert len(tries) == 2

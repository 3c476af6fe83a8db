import pytest
from sqlalchemy import update

from core.catalog.disposal import dead_paths, kept_paths
from core.catalog.retiring import retire_version
from core.corpora.submissions import cancel_finetune
from core.corpora.uploads import Uploads
from core.db.tables import Corpus, Version
from core.ids import new_id
from core.jobs.ledger import release
from core.jobs.states import JobKind
from tests.core.corpora.helpers import GUILD, add_version, run, submit
from tests.workers.ledger_helpers import claim_job, submit_job


def dead(engine, *candidates):
    return run(engine, dead_paths, candidates)


def test_only_what_was_retired_here_is_dead(any_engine):
    add_version(any_engine, "kept", GUILD, store_path="models/kept/1")
    gone = add_version(any_engine, "gone", GUILD, store_path="models/gone/1")
    run(any_engine, retire_version, GUILD, gone)
    candidates = ("models/kept/1", "models/gone/1", "models/unknown/1", f"models/x/{new_id()}-1")
    assert dead(any_engine, *candidates) == {"models/gone/1"}
    assert run(any_engine, kept_paths) == {"models/kept/1"}


def test_the_base_of_a_living_version_is_kept_even_when_it_is_retired(any_engine):
    base = add_version(any_engine, "base", GUILD, store_path="models/base/1")
    adapter = add_version(any_engine, "adapter", GUILD, base_id=base)
    at_once = update(Version).where(Version.id == base).values(retired_at=1.0)
    run(any_engine, lambda session: session.execute(at_once))
    assert dead(any_engine, "models/base/1") == set()
    assert "models/base/1" in run(any_engine, kept_paths)
    run(any_engine, retire_version, GUILD, adapter)
    assert dead(any_engine, "models/base/1") == {"models/base/1"}


def test_an_attempt_is_dead_once_its_job_went_on_without_it(any_engine):
    job_id = submit_job(any_engine, JobKind.FINETUNE)
    first, second = (f"models/coco/{job_id}-{token}" for token in (1, 2))
    claim = claim_job(any_engine, job_id)
    assert dead(any_engine, first, second) == set()
    run(any_engine, release, claim)
    claim_job(any_engine, job_id)
    assert dead(any_engine, first, second) == {first}


def test_a_version_of_a_job_that_has_ended_is_not_dead(any_engine):
    job_id = submit_job(any_engine, JobKind.FINETUNE)
    path = f"models/coco/{job_id}-1"
    add_version(any_engine, "coco", GUILD, store_path=path)
    claim_job(any_engine, job_id)
    claim_of_another = f"models/coco/{job_id}-0"
    assert dead(any_engine, path, claim_of_another) == {claim_of_another}


@pytest.mark.parametrize("is_read", [False, True])
def test_the_corpus_of_a_fine_tune_is_dead_once_that_is_cancelled(any_engine, is_read):
    corpus_id = new_id()
    raw, prepared = Uploads.path_of(corpus_id), f"corpora/{corpus_id}-1"
    submitted = submit(any_engine, add_version(any_engine), corpus_id=corpus_id)
    if is_read:
        read = update(Corpus).values(store_path=prepared)
        run(any_engine, lambda session: session.execute(read))
    assert dead(any_engine, raw, prepared) == set()
    run(any_engine, cancel_finetune, submitted.job_id)
    assert dead(any_engine, raw, prepared) == {raw, prepared}

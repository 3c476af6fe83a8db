import pytest

from core.catalog.finding import find_version
from core.catalog.renaming import NameTakenError, name_of_run, rename_model
from core.errors import NotFoundError
from core.jobs.ledger import request_cancel, succeed
from core.jobs.states import JobState
from tests.core.corpora.helpers import GUILD, OTHER_GUILD, add_version, run, submit
from tests.workers.ledger_helpers import claim_job, set_job


def test_versions_keep_their_numbers_under_the_new_name(any_engine):
    add_version(any_engine, "coco", GUILD)
    newest = add_version(any_engine, "coco", GUILD)
    assert run(any_engine, rename_model, GUILD, "coco", "jaco") == 1
    found = run(any_engine, find_version, GUILD, "jaco")
    assert (found.version_id, found.number) == (newest, 2)
    assert run(any_engine, rename_model, GUILD, "jaco", "jaco") == 0


def test_a_name_that_the_guild_sees_is_taken_and_that_of_another_guild_is_not(any_engine):
    add_version(any_engine, "shared")
    for name in ("coco", "other"):
        add_version(any_engine, name, GUILD)
    add_version(any_engine, "secret", OTHER_GUILD)
    for taken in ("shared", "other"):
        with pytest.raises(NameTakenError):
            run(any_engine, rename_model, GUILD, "coco", taken)
    assert run(any_engine, rename_model, GUILD, "coco", "secret") == 1


def test_nobody_renames_what_is_not_their_own(any_engine):
    add_version(any_engine, "shared")
    add_version(any_engine, "secret", OTHER_GUILD)
    for name in ("shared", "secret", "nothing"):
        with pytest.raises(NotFoundError):
            run(any_engine, rename_model, GUILD, name, "mine")


def test_fine_tunes_that_may_still_make_a_version_follow_the_new_name(any_engine):
    base = add_version(any_engine)
    add_version(any_engine, "coco", GUILD)
    open_run, ended, done = (submit(any_engine, base).job_id for _ in range(3))
    run(any_engine, request_cancel, ended)
    set_job(any_engine, done, state=JobState.QUEUED)
    run(any_engine, succeed, claim_job(any_engine, done), {})
    unlike = submit(any_engine, base, model="jojo").job_id
    foreign = submit(any_engine, base, guild_id=OTHER_GUILD).job_id
    run(any_engine, rename_model, GUILD, "coco", "jaco")
    names = [run(any_engine, name_of_run, j) for j in (open_run, ended, done, unlike, foreign)]
    assert names == ["jaco", "jaco", "coco", "jojo", "coco"]

from sqlalchemy import update

from core.catalog.finding import find_version
from core.catalog.lineage import base_of
from core.catalog.retiring import retire_version
from core.corpora.submissions import cancel_finetune
from core.db.tables import Job
from tests.core.corpora.helpers import GUILD, OTHER_GUILD, add_version, run, submit


def found(engine, guild: int, name: str):
    entry = run(engine, find_version, guild, name)
    base = run(engine, base_of, guild, entry)
    return None if base is None else base.version_id


def test_an_adapter_names_its_base_and_whole_weights_ask_their_job(any_engine):
    shared = add_version(any_engine, "shared")
    add_version(any_engine, "adapter", GUILD, base_id=shared)
    job_id = submit(any_engine, shared).job_id
    add_version(any_engine, "whole", GUILD, job_id=job_id)
    add_version(any_engine, "alone", GUILD)
    assert found(any_engine, GUILD, "adapter") == shared
    assert found(any_engine, GUILD, "whole") == shared
    assert found(any_engine, GUILD, "alone") is None


def test_a_base_that_is_retired_or_behind_the_wall_is_none(any_engine):
    own = add_version(any_engine, "own", GUILD)
    job_id = submit(any_engine, own).job_id
    add_version(any_engine, "child", GUILD, job_id=job_id)
    run(any_engine, cancel_finetune, job_id)
    run(any_engine, retire_version, GUILD, own)
    assert found(any_engine, GUILD, "child") is None
    secret = add_version(any_engine, "secret", OTHER_GUILD)
    query = update(Job).where(Job.id == job_id).values(payload={"base_version_id": secret})
    run(any_engine, lambda session: session.execute(query))
    assert found(any_engine, GUILD, "child") is None

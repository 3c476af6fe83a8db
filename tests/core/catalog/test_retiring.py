import pytest
from sqlalchemy import update

from core.catalog.choices import Reach, choose
from core.catalog.registry import list_versions
from core.catalog.resolution import resolve_version
from core.catalog.retiring import (
    VersionInTrainingError,
    VersionInUseError,
    retire_model,
    retire_version,
)
from core.conversations.answers import find_weights
from core.corpora.submissions import cancel_finetune
from core.db.tables import Version
from core.errors import NotFoundError
from tests.core.corpora.helpers import ADMIN, CHANNEL, GUILD, add_version, run, submit


def test_what_a_fine_tune_learns_on_is_not_retired_under_it(any_engine):
    whole = add_version(any_engine, "whole", GUILD)
    job_id = submit(any_engine, whole).job_id
    with pytest.raises(VersionInTrainingError, match=job_id) as caught:
        run(any_engine, retire_version, GUILD, whole)
    assert caught.value.data == {"job": job_id, "model": "coco"}
    run(any_engine, cancel_finetune, job_id)
    run(any_engine, retire_version, GUILD, whole)


def test_nor_is_the_operator_s_model(any_engine):
    base = add_version(any_engine, "base")
    job_id = submit(any_engine, base).job_id
    with pytest.raises(VersionInTrainingError):
        run(any_engine, retire_model, "base", None)
    run(any_engine, cancel_finetune, job_id)
    add_version(any_engine, "coco", GUILD, base_id=base)
    with pytest.raises(VersionInUseError):
        run(any_engine, retire_model, "base", None)
    assert len(run(any_engine, list_versions, GUILD)) == 2


def test_no_version_is_registered_over_a_base_that_is_gone(any_engine):
    base = add_version(any_engine, "whole", GUILD)
    run(any_engine, retire_version, GUILD, base)
    with pytest.raises(NotFoundError):
        add_version(any_engine, "coco", GUILD, base_id=base)
    assert run(any_engine, list_versions, GUILD) == []


def test_a_choice_whose_base_is_gone_is_passed_over(any_engine):
    default = add_version(any_engine, "base")
    whole = add_version(any_engine, "whole", GUILD)
    adapter = add_version(any_engine, "coco", GUILD, base_id=whole)
    run(any_engine, choose, Reach(GUILD), adapter, ADMIN)
    assert run(any_engine, resolve_version, GUILD, CHANNEL, "base") == adapter
    # No function of ours leaves an adapter over nothing; an older Perroquet could.
    gone = update(Version).where(Version.id == whole).values(retired_at=1.0)
    run(any_engine, lambda session: session.execute(gone))
    assert run(any_engine, resolve_version, GUILD, CHANNEL, "base") == default
    assert run(any_engine, find_weights, adapter) is None
    assert run(any_engine, find_weights, default) is not None

import pytest

from core.catalog.bases import find_base, is_shared_name, list_bases
from core.errors import NotFoundError
from tests.core.corpora.helpers import GUILD, OTHER_GUILD, add_version, run


def test_bases_are_the_newest_whole_models_that_a_guild_may_see(any_engine):
    old = add_version(any_engine, "parrot")
    new = add_version(any_engine, "parrot")
    add_version(any_engine, "parrot-lora", GUILD, base_id=old)
    own = add_version(any_engine, "coco", GUILD)
    foreign = add_version(any_engine, "secret", OTHER_GUILD)
    seen = [base.version_id for base in run(any_engine, list_bases, GUILD)]
    assert seen == [own, new]
    assert foreign in [base.version_id for base in run(any_engine, list_bases, OTHER_GUILD)]
    assert [base.model for base in run(any_engine, list_bases, None)] == ["parrot"]


def test_a_base_is_found_by_name_within_the_wall(any_engine):
    add_version(any_engine, "secret", OTHER_GUILD)
    shared = add_version(any_engine, "coco")
    own = add_version(any_engine, "coco", GUILD)
    assert run(any_engine, find_base, GUILD, "coco").version_id == own
    assert run(any_engine, find_base, OTHER_GUILD, "coco").version_id == shared
    with pytest.raises(NotFoundError):
        run(any_engine, find_base, GUILD, "secret")
    assert run(any_engine, is_shared_name, "coco")
    assert not run(any_engine, is_shared_name, "secret")

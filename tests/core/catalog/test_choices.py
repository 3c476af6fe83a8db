import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.catalog.choices import NothingBeforeError, Reach, choose, roll_back
from core.catalog.resolution import resolve_version
from core.catalog.retiring import VersionInUseError, retire_version
from core.db.tables import Assignment
from core.errors import NotFoundError
from tests.core.corpora.helpers import (
    ADMIN,
    CHANNEL,
    GUILD,
    OTHER_CHANNEL,
    OTHER_GUILD,
    add_version,
    run,
)

HERE, SERVER = Reach(GUILD, CHANNEL), Reach(GUILD)


def answers(engine, channel=CHANNEL, guild=GUILD):
    return run(engine, resolve_version, guild, channel, "base")


@pytest.fixture
def base(any_engine):
    return add_version(any_engine)


@pytest.fixture
def own(any_engine, base):
    return add_version(any_engine, "coco", GUILD, base_id=base)


def test_a_channel_s_choice_goes_before_its_server_s(any_engine, base, own):
    assert answers(any_engine) == base
    assert run(any_engine, choose, SERVER, own, ADMIN).model == "coco"
    assert answers(any_engine) == own
    run(any_engine, choose, HERE, base, ADMIN)
    assert answers(any_engine) == base
    assert answers(any_engine, channel=4711) == own


def test_rolling_back_follows_the_choices_and_back_again(any_engine, base, own):
    second = add_version(any_engine, "coco", GUILD, base_id=base)
    with pytest.raises(NothingBeforeError):
        run(any_engine, roll_back, HERE, ADMIN)
    run(any_engine, choose, HERE, own, ADMIN)
    run(any_engine, choose, HERE, second, ADMIN)
    run(any_engine, choose, HERE, second, ADMIN)
    assert run(any_engine, roll_back, HERE, ADMIN).version_id == own
    assert answers(any_engine) == own
    assert run(any_engine, roll_back, HERE, ADMIN).version_id == second
    assert answers(any_engine, channel=4711) == base


def test_the_first_choice_is_rolled_back_to_the_wider_scope(any_engine, base, own):
    run(any_engine, choose, HERE, own, ADMIN)
    assert run(any_engine, roll_back, HERE, ADMIN) is None
    assert answers(any_engine) == base


def test_a_retired_version_answers_no_more_and_is_passed_over(any_engine, base, own):
    second = add_version(any_engine, "coco", GUILD, base_id=base)
    run(any_engine, choose, HERE, own, ADMIN)
    run(any_engine, choose, HERE, second, ADMIN)
    assert run(any_engine, retire_version, GUILD, own).number == 1
    assert run(any_engine, roll_back, HERE, ADMIN) is None
    run(any_engine, retire_version, GUILD, second)
    assert answers(any_engine) == base
    with pytest.raises(NotFoundError):
        run(any_engine, choose, HERE, own, ADMIN)
    with pytest.raises(NotFoundError):
        run(any_engine, retire_version, GUILD, own)


def test_another_guild_s_versions_are_behind_the_wall(any_engine, base, own):
    add_version(any_engine, "dodo", OTHER_GUILD)
    other = Reach(OTHER_GUILD, OTHER_CHANNEL)
    with pytest.raises(NotFoundError):
        run(any_engine, choose, other, own, ADMIN)
    with pytest.raises(NotFoundError):
        run(any_engine, retire_version, OTHER_GUILD, own)
    run(any_engine, choose, HERE, own, ADMIN)
    with pytest.raises(NothingBeforeError):
        run(any_engine, roll_back, Reach(OTHER_GUILD, CHANNEL), ADMIN)
    with Session(any_engine) as session:
        assert session.scalars(select(Assignment.guild_id)).all() == [GUILD]


def test_the_operator_s_versions_and_bases_in_use_are_not_deleted(any_engine, base, own):
    with pytest.raises(NotFoundError):
        run(any_engine, retire_version, GUILD, base)
    whole = add_version(any_engine, "whole", GUILD)
    adapter = add_version(any_engine, "adapter", GUILD, base_id=whole)
    with pytest.raises(VersionInUseError) as caught:
        run(any_engine, retire_version, GUILD, whole)
    assert caught.value.data == {"model": "whole"}
    run(any_engine, retire_version, GUILD, adapter)
    run(any_engine, retire_version, GUILD, whole)

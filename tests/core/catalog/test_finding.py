import pytest

from core.catalog.finding import find_version, search_versions
from core.errors import NotFoundError
from tests.core.corpora.helpers import GUILD, OTHER_GUILD, add_version, run


@pytest.fixture
def versions(any_engine):
    return {
        "shared": add_version(any_engine, "coco"),
        "one": add_version(any_engine, "coco", GUILD),
        "two": add_version(any_engine, "coco", GUILD),
        "base": add_version(any_engine, "gpt 2"),
        "secret": add_version(any_engine, "secret", OTHER_GUILD),
    }


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("coco", "two"), (" Coco 1 ", "one"), ("coco 2", "two"), ("gpt 2", "base")],
)
def test_a_version_is_found_as_people_name_it(any_engine, versions, wanted, found):
    assert run(any_engine, find_version, GUILD, wanted).version_id == versions[found]


def test_a_version_is_found_by_its_id_within_the_wall(any_engine, versions):
    for name in ("shared", "one", "base"):
        wanted = versions[name]
        assert run(any_engine, find_version, GUILD, wanted).version_id == wanted
    assert run(any_engine, find_version, OTHER_GUILD, "coco").version_id == versions["shared"]
    for wanted in (versions["secret"], "secret", "secret 1", "coco 9", ""):
        with pytest.raises(NotFoundError):
            run(any_engine, find_version, GUILD, wanted)


def test_a_search_shows_one_s_own_first_and_nothing_of_others(any_engine, versions):
    def ids(typed: str, **named) -> list[str]:
        found = run(any_engine, search_versions, GUILD, typed, **named)
        return [entry.version_id for entry in found]

    assert ids("") == [versions[n] for n in ("two", "one", "shared", "base")]
    assert ids("", own_only=True) == [versions["two"], versions["one"]]
    assert ids("COCO 2") == [versions["two"]]
    assert ids("secret") == []

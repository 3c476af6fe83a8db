import math
from datetime import UTC, datetime

import pytest

from models_store.errors import VersionExistsError
from models_store.shelf import modification_time, published_in, refuse_taken, stale_files

NOW = 1000.0
OLD, NEW = NOW - 100, NOW + 1


def test_a_manifest_makes_a_version():
    names = ["a/1/manifest.json", "a/2/config.json", "manifest.json", ".staging/x/manifest.json"]
    assert published_in(names) == {"a/1"}


def test_files_of_versions_are_never_stale():
    files = {"a/1/manifest.json": OLD, "a/1/x.json": OLD, "a/1/sub/y.json": OLD}
    assert not stale_files(files, set(), NOW)


def test_old_files_of_no_version_are_stale():
    files = {"a/1/x.json": OLD, "a/2/x.json": NEW, "stray.json": OLD}
    assert stale_files(files, set(), NOW) == {"a/1/x.json": OLD, "stray.json": OLD}


def test_what_was_begun_together_is_as_young_as_its_newest_file():
    files = {"a/1/sub/first.json": OLD, "a/1/last.safetensors": NEW, "a/1/.publishing": OLD}
    assert not stale_files(files, {"a/1"}, NOW)
    files["a/1/last.safetensors"] = OLD
    assert list(stale_files(files, {"a/1"}, NOW)) == sorted(files)


@pytest.mark.parametrize("path", ["a/1", "a", "a/1/b"])
def test_a_path_at_above_or_inside_a_version_is_taken(path):
    with pytest.raises(VersionExistsError):
        refuse_taken(path, ["a/1/manifest.json"])


def test_a_path_beside_a_version_is_free():
    refuse_taken("a/2", ["a/1/manifest.json", "a/2/config.json"])


@pytest.mark.parametrize(
    ("details", "time"),
    [
        ({"mtime": 12.5}, 12.5),
        ({"LastModified": datetime.fromtimestamp(7, UTC)}, 7.0),
        ({"created": datetime.fromtimestamp(9, UTC), "mtime": 3}, 3.0),
        ({}, math.inf),
        ({"updated": "yesterday"}, math.inf),
    ],
)
def test_every_backend_says_when_in_its_own_way(details, time):
    assert modification_time(details) == time

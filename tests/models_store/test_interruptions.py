"""Processes that die half-way, and several that want the same at once."""

import subprocess
import sys
import threading

import pytest

from models_store.errors import VersionExistsError, VersionMissingError

PATH = "models/a/1"
SCRIPT = """
import os, signal, sys
from pathlib import Path
from core.errors import StoreError
from models_store.store import ModelStore

work, url, cache, folder, path, die_after = sys.argv[1:]
calls = 0

def progress(count):
    global calls
    calls += 1
    if calls == int(die_after):
        os.kill(os.getpid(), signal.SIGKILL)

store = ModelStore(url, Path(cache), 10**9)
sys.stdin.readline()
try:
    if work == "publish":
        store.publish(Path(folder), path, {}, progress)
    else:
        print(store.fetch(path, progress=progress))
except StoreError as exc:
    sys.exit(type(exc).__name__)
"""


def start(work, site, folder, *, path=PATH, die_after=0):
    cache = folder.parent / "cache"
    arguments = [work, site.url, str(cache), str(folder), path, str(die_after)]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sweep_up(site):
    """Delete all leftovers, however young."""
    leftovers = site.store.take_stock(-60).leftovers
    assert leftovers
    site.store.delete_leftovers(leftovers)


def outcomes(processes):
    """Let all go at the same instant and wait for what they say."""
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60) for process in processes]
    return [
        (process.returncode, out.strip(), err.strip())
        for process, (out, err) in zip(processes, said, strict=True)
    ]


def test_a_publisher_killed_half_way_leaves_nothing_visible(local_site, folder):
    ((code, _, _),) = outcomes([start("publish", local_site, folder, die_after=2)])
    assert code == -9
    assert local_site.store.list_versions() == []
    with pytest.raises(VersionMissingError):
        local_site.store.fetch(PATH)
    assert local_site.files() != []
    assert not local_site.store.take_stock(3600).leftovers
    local_site.store.publish(folder, PATH, {})
    sweep_up(local_site)
    local_site.store.verify(PATH)
    assert all(name.startswith(PATH) for name in local_site.files())


def test_a_fetcher_killed_half_way_leaves_no_entry_and_no_lock(local_site, folder):
    local_site.store.publish(folder, PATH, {})
    ((code, _, _),) = outcomes([start("fetch", local_site, folder, die_after=2)])
    assert code == -9
    assert (local_site.store.fetch(PATH) / "config.json").read_text() == "{}"


def test_of_processes_that_publish_the_same_path_at_once_one_succeeds(local_site, folder):
    said = outcomes([start("publish", local_site, folder) for _ in range(3)])
    assert sorted(code for code, _, _ in said) == [0, 1, 1]
    assert {err for _, _, err in said} == {"", "VersionExistsError"}
    local_site.store.verify(PATH)
    assert all(name.startswith(PATH) for name in local_site.files())


def test_processes_that_fetch_at_once_all_get_it(local_site, folder):
    local_site.store.publish(folder, PATH, {})
    said = outcomes([start("fetch", local_site, folder) for _ in range(3)])
    assert {code for code, _, _ in said} == {0}
    assert {out for _, out, _ in said} == {str(local_site.store.fetch(PATH))}


def test_threads_that_fetch_at_once_bring_it_once(site, folder, monkeypatch):
    site.store.publish(folder, PATH, {})
    brought, fetched = [], []
    bring = site.store._shelf.bring

    def counted(path, name, *rest):
        brought.append(name)
        return bring(path, name, *rest)

    monkeypatch.setattr(site.store._shelf, "bring", counted)
    threads = [
        threading.Thread(target=lambda: fetched.append(site.store.fetch(PATH))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(fetched), len(set(fetched)), len(brought)) == (4, 1, 3)


def interrupt(_count):
    raise KeyboardInterrupt


def test_an_interrupted_publication_is_invisible_and_can_be_swept_up(memory_site, folder):
    with pytest.raises(KeyboardInterrupt):
        memory_site.store.publish(folder, PATH, {}, interrupt)
    assert memory_site.store.list_versions() == []
    with pytest.raises(VersionMissingError):
        memory_site.store.fetch(PATH)
    with pytest.raises(VersionExistsError, match="half-way"):
        memory_site.store.publish(folder, PATH, {})
    assert not memory_site.store.take_stock(3600).leftovers
    sweep_up(memory_site)
    assert memory_site.files() == []
    memory_site.store.publish(folder, PATH, {})


def test_what_was_left_half_way_can_be_retired_at_once(memory_site, folder):
    with pytest.raises(KeyboardInterrupt):
        memory_site.store.publish(folder, PATH, {}, interrupt)
    memory_site.store.retire(PATH)
    assert memory_site.files() == []
    memory_site.store.publish(folder, PATH, {})


def test_leftovers_where_a_version_is_to_stand_give_way(local_site, folder):
    local_site.write(PATH, "config.json", b"half")
    local_site.store.publish(folder, PATH, {})
    local_site.store.verify(PATH)
    assert (local_site.store.fetch(PATH) / "config.json").read_text() == "{}"


def test_who_loses_the_race_for_the_manifest_is_refused(memory_site, folder, monkeypatch):
    def lost(path, value, mode="overwrite"):
        if path.endswith("manifest.json"):
            raise FileExistsError(path)
        return type(memory_site.filesystem).pipe_file(memory_site.filesystem, path, value, mode)

    monkeypatch.setattr(memory_site.filesystem, "pipe_file", lost)
    with pytest.raises(VersionExistsError):
        memory_site.store.publish(folder, PATH, {})


def test_old_versions_are_told_from_young_ones(site, folder):
    site.store.publish(folder, PATH, {})
    assert site.store.take_stock(3600).versions == []
    stock = site.store.take_stock(-60)
    assert (stock.versions, stock.leftovers) == ([PATH], {})


def test_two_who_sweep_up_and_retire_at_once_do_not_hinder_each_other(site, folder):
    site.store.publish(folder, PATH, {})
    site.write("stray", "x.json", b"{}")
    leftovers = site.store.take_stock(-60).leftovers
    assert list(leftovers) == ["stray/x.json"]
    site.store.delete_leftovers(leftovers)
    site.store.delete_leftovers(leftovers)
    assert site.store.list_versions() == [PATH]


def test_a_publisher_killed_before_its_last_step_has_published_nothing(local_site, folder):
    local_site.store.publish(folder, PATH, {})
    local_site.filesystem.mv(local_site.at(PATH), local_site.at(".staging/killed"), recursive=True)
    assert local_site.store.list_versions() == []
    sweep_up(local_site)
    assert local_site.files() == []

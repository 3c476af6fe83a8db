"""What the playground keeps, for how long, and that keeping it holds nobody up."""

import asyncio
import time

import pytest

from core.settings import load_settings
from playground import cast, ids, server
from playground.interactions import COMMAND, Interactions
from playground.rest.bodies import Body, keep_files
from playground.rest.replies import RestError
from playground.world import ANSWERABLE_SECONDS, World

BASE = "http://127.0.0.1:1"


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "state.json")


def attach(world, name="curve.png", content=b"picture"):
    """Keep a file; returns it as an attachment, and its path."""
    (file,) = keep_files(world, BASE, cast.GENERAL, Body({}, {0: (name, content)}))
    return file, file["url"].removeprefix(BASE)


def pass_time(monkeypatch, seconds):
    now = ids.snowflake_now()
    monkeypatch.setattr(ids, "snowflake_now", lambda: now + (int(seconds * 1000) << 22))


def test_the_files_of_kept_messages_outlive_a_restart(world, tmp_path):
    file, path = attach(world)
    _, loose = attach(world, "loose.txt")
    world.post(cast.GENERAL, cast.BOT_ID, "look", attachments=[file])
    world.save()
    again = World(tmp_path / "state.json")
    assert again.files[path] == (b"picture", "image/png")
    assert loose not in again.files
    assert len(list((tmp_path / "state.files").iterdir())) == 1


def test_pictures_have_their_size_and_other_files_none(world):
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (800).to_bytes(4, "big") + (450).to_bytes(4, "big")
    picture, _ = attach(world, "curve.png", head)
    assert (picture["width"], picture["height"]) == (800, 450)
    cut, _ = attach(world, "curve.png", head[:20])
    text, _ = attach(world, "notes.txt", b"words")
    assert not {"width", "height"} & (cut.keys() | text.keys())


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_a_file_goes_after_its_message(world, monkeypatch, where):
    world = world if where == "disk" else World()
    file, path = attach(world)
    kept, kept_path = attach(world, "../../kept.txt", b"text")
    message = world.post(cast.GENERAL, cast.BOT_ID, "look", attachments=[file])
    world.post(cast.GENERAL, cast.BOT_ID, "keep", attachments=[kept])
    world.delete(cast.GENERAL, message["id"])
    world.drop_unused_files()
    assert path in world.files, "a command that has no message may still be answered"
    pass_time(monkeypatch, ANSWERABLE_SECONDS + 1)
    world.drop_unused_files()
    assert path not in world.files
    assert world.files[kept_path][0] == b"text"


def test_an_interaction_is_forgotten_when_nobody_can_answer_it_any_more(world, monkeypatch):
    interactions = Interactions(world)
    old = interactions.begin(COMMAND, cast.ALICE, cast.GENERAL, {"name": "models"}, locale="fr")
    assert interactions.pending(old.token) is old
    pass_time(monkeypatch, ANSWERABLE_SECONDS + 1)
    with pytest.raises(RestError):
        interactions.pending(old.token)
    assert interactions._pending == {}


def test_what_did_not_change_is_not_written(world, tmp_path):
    world.say(cast.ALICE, cast.GENERAL, "hello")
    world.save()
    (tmp_path / "state.json").unlink()
    world.save()
    assert not (tmp_path / "state.json").exists()
    world.say(cast.ALICE, cast.GENERAL, "again")
    world.save()
    assert len(World(tmp_path / "state.json").messages[cast.GENERAL]) == 2


def test_what_could_not_be_written_is_written_later(world, tmp_path):
    world.say(cast.ALICE, cast.GENERAL, "hello")
    (tmp_path / "state.partial").mkdir()
    with pytest.raises(OSError, match="partial"):
        world.save()
    (tmp_path / "state.partial").rmdir()
    world.save()
    assert (tmp_path / "state.json").exists()


async def test_saving_leaves_the_loop_to_those_who_talk(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "_SAVE_SECONDS", 0.01)
    settings = load_settings({"PERROQUET_PLAYGROUND__PORT": "0"}, tmp_path / "none")
    playground = server.PlaygroundServer(settings, state_file=tmp_path / "state.json")
    writing, written = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def write_slowly(state):
        loop.call_soon_threadsafe(writing.set)
        time.sleep(0.2)
        written.append(state)

    monkeypatch.setattr(playground.world, "write", write_slowly)
    await playground.start()
    playground.world.say(cast.ALICE, cast.GENERAL, "hello")
    await asyncio.wait_for(writing.wait(), 5)
    assert written == [], "the loop goes on while a thread still writes"
    await playground.stop()

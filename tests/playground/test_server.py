import asyncio
import json

import aiohttp
import pytest

from core.errors import ServiceUnavailableError, SettingsError
from core.playground_token import PLAYGROUND_TOKEN
from core.settings import load_settings
from playground import cast
from playground.limits import RateLimiter
from playground.server import PlaygroundServer
from playground.world import World

HEADERS = {"Authorization": f"Bot {PLAYGROUND_TOKEN}"}


def settings(tmp_path, **variables):
    return load_settings({"PERROQUET_PLAYGROUND__PORT": "0", **variables}, tmp_path / "none")


@pytest.fixture
async def server(tmp_path):
    server = PlaygroundServer(settings(tmp_path), state_file=tmp_path / "state.json")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def http(server):
    async with aiohttp.ClientSession(server.rest_base + "/", headers=HEADERS) as session:
        yield session


def test_with_a_discord_token_it_refuses_to_be(tmp_path):
    with pytest.raises(SettingsError, match="DISCORD_TOKEN"):
        PlaygroundServer(settings(tmp_path, DISCORD_TOKEN="x"))


async def test_a_port_that_is_taken_is_said_to_be(server, tmp_path):
    taken = settings(tmp_path, PERROQUET_PLAYGROUND__PORT=str(server.port))
    with pytest.raises(ServiceUnavailableError, match=str(server.port)):
        await PlaygroundServer(taken).start()


async def test_without_the_token_nothing_is_told(server):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{server.rest_base}/users/@me") as response,
    ):
        assert response.status == 401


async def test_the_sixth_post_in_five_seconds_must_wait(http):
    statuses = []
    for number in range(6):
        url = f"channels/{cast.GENERAL}/messages"
        async with http.post(url, json={"content": str(number)}) as response:
            statuses.append(response.status)
    assert statuses == [200] * 5 + [429]
    assert response.headers["Via"]
    assert 0 < float(response.headers["Retry-After"]) <= 5


def test_a_window_of_limits_opens_again():
    now = 0.0
    limiter = RateLimiter(is_on=True, clock=lambda: now)
    for _ in range(5):
        assert limiter.rule("edit-message", "1").retry_after is None
    assert limiter.rule("edit-message", "1").retry_after == 5.0
    assert limiter.rule("edit-message", "2").retry_after is None
    now = 5.0
    assert limiter.rule("edit-message", "1").retry_after is None


async def test_a_nonce_seen_before_gives_the_same_message(http, server):
    url = f"channels/{cast.GENERAL}/messages"
    ids = set()
    for _ in range(2):
        body = {"content": "x", "nonce": "n", "enforce_nonce": True}
        async with http.post(url, json=body) as response:
            ids.add((await response.json())["id"])
    assert len(ids) == 1
    assert len(server.world.messages[cast.GENERAL]) == 1


@pytest.mark.parametrize(
    ("content", "status", "code"), [("", 400, 50006), ("x" * 2001, 400, 50035)]
)
async def test_what_discord_would_not_take_is_refused(http, content, status, code):
    url = f"channels/{cast.GENERAL}/messages"
    async with http.post(url, json={"content": content}) as response:
        assert (response.status, (await response.json())["code"]) == (status, code)


async def test_what_is_not_there_has_discord_s_codes(http):
    for url, code in (
        ("channels/9", 10003),
        (f"channels/{cast.GENERAL}/messages/9", 10008),
        ("guilds/9", 10004),
        ("users/9", 10013),
    ):
        async with http.get(url) as response:
            assert (response.status, (await response.json())["code"]) == (404, code)


async def test_history_is_read_from_both_ends(http, server):
    ids = [server.world.say(cast.ALICE, cast.GENERAL, str(n))["id"] for n in range(5)]

    async def read(query):
        async with http.get(f"channels/{cast.GENERAL}/messages?{query}") as response:
            return [message["content"] for message in await response.json()]

    assert await read("limit=2") == ["4", "3"]
    assert await read(f"after={ids[1]}&limit=2") == ["3", "2"]
    assert await read(f"before={ids[1]}") == ["0"]


async def test_everything_is_there_again_after_a_restart(server, tmp_path):
    server.world.say(cast.ALICE, cast.GENERAL, "remember me")
    direct = server.world.open_direct(cast.ALICE)
    thread = server.world.open_thread(cast.GENERAL, cast.ALICE, "thread", None)
    server.world.save()
    again = World(tmp_path / "state.json")
    assert [m["content"] for m in again.messages[cast.GENERAL].values()] == ["remember me"]
    assert again.open_direct(cast.ALICE)["id"] == direct["id"]
    assert thread["id"] in again.channels
    assert int(again.new_id()) > int(thread["id"])


async def test_the_page_sees_its_own_guilds_and_says_things(server):
    base = server.base
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{base}/page-api/ws?user={cast.ALICE}") as socket:
            hello = json.loads((await socket.receive()).data)
            assert [g["name"] for g in hello["d"]["guilds"]] == ["Perroquet"]
            form = aiohttp.FormData()
            form.add_field(
                "payload_json", json.dumps({"user_id": cast.ALICE, "content": "hi <@1000>"})
            )
            form.add_field("files[0]", b"words", filename="a.txt")
            url = f"{base}/page-api/channels/{cast.GENERAL}/messages"
            async with session.post(url, data=form) as response:
                said = await response.json()
            told = json.loads((await socket.receive()).data)
        assert told["t"] == "MESSAGE_CREATE"
        assert said["mentions"][0]["id"] == cast.BOT_ID
        async with session.get(said["attachments"][0]["url"]) as response:
            assert await response.read() == b"words"
            assert response.headers["Content-Security-Policy"] == "sandbox"


async def test_people_write_four_thousand_characters_and_not_one_more(server):
    url = f"{server.base}/page-api/channels/{cast.GENERAL}/messages"
    statuses = []
    async with aiohttp.ClientSession() as session:
        for length in (4000, 4001):
            async with session.post(
                url, json={"user_id": cast.ALICE, "content": "🦜" * length}
            ) as response:
                statuses.append(response.status)
    assert statuses == [200, 400]


async def test_a_page_that_opens_anew_has_no_message_that_was_for_one_person(server):
    world = server.world
    world.post(cast.GENERAL, cast.BOT_ID, "whispered", only_user_id=cast.ALICE)
    world.post(cast.GENERAL, cast.BOT_ID, "said")
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server.base}/page-api/ws?user={cast.ALICE}") as socket,
    ):
        hello = json.loads((await socket.receive()).data)
    assert [m["content"] for m in hello["d"]["history"][cast.GENERAL]] == ["said"]


async def test_only_who_manages_a_server_removes_and_invites_the_bot(server, http, tmp_path):
    async def set_bot(user, is_there):
        url = f"{server.base}/page-api/guilds/{cast.PERROQUET_GUILD}/bot"
        async with http.post(url, json={"user_id": user, "is_there": is_there}) as response:
            return response.status

    async def guilds():
        async with http.get("users/@me/guilds") as response:
            return [guild["id"] for guild in await response.json()]

    assert await set_bot(cast.ALICE, False) == 403
    assert await set_bot(cast.CAMILLE, False) == 204
    assert await guilds() == [cast.AVIARY_GUILD]
    url = f"channels/{cast.GENERAL}/messages"
    async with http.post(url, json={"content": "still here"}) as response:
        assert (await response.json())["code"] == 50001
    server.world.save()
    assert len(World(tmp_path / "state.json").bot_guilds()) == 1
    assert await set_bot(cast.CAMILLE, True) == 204
    assert await guilds() == [cast.PERROQUET_GUILD, cast.AVIARY_GUILD]


async def test_a_stranger_can_neither_read_nor_write_in_another_guild(server):
    async with aiohttp.ClientSession() as session:
        form = aiohttp.FormData()
        payload = json.dumps({"user_id": cast.ALICE, "content": "hi"})
        form.add_field("payload_json", payload, content_type="application/json")
        form.add_field("files[0]", b"", filename="a.txt")
        url = f"{server.base}/page-api/channels/{cast.SALON}/messages"
        async with session.post(url, data=form) as response:
            assert response.status == 403
        async with session.ws_connect(f"{server.base}/page-api/ws?user={cast.ALICE}") as socket:
            await socket.receive()
            server.world.say(cast.BRUNO, cast.SALON, "a secret")
            with pytest.raises(asyncio.TimeoutError):
                await socket.receive(timeout=0.2)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Host": "localhost:{port}"}, 200),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "rebound.example:{port}"}, 403),
    ],
)
async def test_only_the_playground_s_own_page_is_answered(server, headers, status):
    headers = {name: value.format(port=server.port) for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.get(server.base + "/", headers=headers) as response,
    ):
        assert response.status == status


async def test_another_site_cannot_listen_in(server):
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(
                f"{server.base}/page-api/ws", headers={"Origin": "https://elsewhere.example"}
            )
    assert refused.value.status == 403

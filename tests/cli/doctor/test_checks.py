"""Each check finds what is well, and each failure is provoked."""

import time
from pathlib import Path

import pytest
import redis
from aiohttp import web
from sqlalchemy import text

from cli.doctor.broker import check_redis, check_version
from cli.doctor.database import check_clock, check_database, open_existing
from cli.doctor.devices import TorchFacts, check_kfd, check_torch, read_torch
from cli.doctor.discord import check_discord, check_intents, check_permissions
from cli.doctor.findings import Verdict
from cli.doctor.machine import check_disk, check_python, nearest_existing
from cli.doctor.store import check_store
from cli.doctor.workers import check_shards, check_versions, check_workers
from core.db.engines import make_engine
from core.embedded import free_port
from core.jobs.presence import Presence
from core.settings import load_settings
from playground.cast import AVIARY_GUILD
from playground.server import PlaygroundServer

OK, WARNING, FAILED, SKIPPED = Verdict.OK, Verdict.WARNING, Verdict.FAILED, Verdict.SKIPPED


def verdicts(findings):
    return {finding.check: finding.verdict for finding in findings}


def test_python():
    assert check_python().verdict is OK
    old = check_python((3, 10, 4))
    assert (old.verdict, "3.10.4" in old.said, "make" in old.fix) == (FAILED, True, True)


def test_disk(tmp_path):
    assert check_disk(tmp_path, 1, 2).verdict is OK
    assert check_disk(tmp_path, 1, 2**62).verdict is WARNING
    full = check_disk(tmp_path / "not" / "there", 2**62)
    assert (full.verdict, "PERROQUET_DATA_DIR" in full.fix) == (FAILED, True)
    assert not (tmp_path / "not").exists()
    assert nearest_existing(tmp_path / "not" / "there") == tmp_path.resolve()


CPU = TorchFacts("2.9", "cpu", ())
ONE_GPU = TorchFacts("2.9", "cuda", (("H100", 80 * 2**30),))


@pytest.mark.parametrize(
    ("facts", "wanted", "amd", "nvidia", "verdict", "word"),
    [
        (TorchFacts("2.9", "rocm", (("MI300X", 192 * 2**30),)), "auto", True, False, OK, "192 GiB"),
        (CPU, "auto", False, False, OK, "no accelerator"),
        (None, "auto", False, False, FAILED, "make install"),
        (CPU, "auto", True, False, WARNING, "DEVICE=rocm"),
        (CPU, "auto", False, True, WARNING, "DEVICE=cuda"),
        (TorchFacts("2.9", "cuda", ()), "cuda:0", False, True, FAILED, "GENERATION__DEVICE"),
        (ONE_GPU, "cuda:0", False, True, OK, "80 GiB"),
        (ONE_GPU, "cuda:7", False, True, FAILED, "generation.device is cuda:7"),
        (ONE_GPU, "rocm", False, True, OK, "80 GiB"),
        (CPU, "cpu", False, False, OK, "no accelerator"),
        (CPU, "gpu", False, False, FAILED, "generation.device is gpu"),
        (ONE_GPU, "cuda:one", False, True, FAILED, "generation.device is cuda:one"),
    ],
)
def test_torch(facts, wanted, amd, nvidia, verdict, word):
    found = check_torch(facts, {"generation.device": wanted}, has_amd=amd, has_nvidia=nvidia)
    assert found.verdict is verdict
    assert word in found.said + found.fix


def test_the_device_of_the_trainer_is_looked_for_too():
    wanted = {"generation.device": "cpu", "finetuning.device": "cuda:0"}
    found = check_torch(CPU, wanted, has_amd=False, has_nvidia=False)
    assert (found.verdict, "finetuning.device is cuda:0" in found.said) == (FAILED, True)
    assert "PERROQUET_FINETUNING__DEVICE" in found.fix


def test_the_installed_torch_is_read():
    import torch

    facts = read_torch()
    assert facts.version == torch.__version__
    assert facts.build in ("cpu", "cuda", "rocm")


def test_kfd(tmp_path):
    absent = tmp_path / "kfd"
    assert check_kfd("cpu", absent).verdict is SKIPPED
    missing = check_kfd("rocm", absent)
    assert (missing.verdict, "driver" in missing.fix) == (WARNING, True)
    # Not even root may open a folder as a device.
    folder = tmp_path / "locked"
    folder.mkdir()
    locked = check_kfd("rocm", folder)
    assert (locked.verdict, "render" in locked.fix) == (FAILED, True)
    absent.touch()
    assert check_kfd("rocm", absent).verdict is OK


def test_redis_that_is_as_it_should_be(valkey_server):
    client = redis.Redis.from_url(valkey_server.connection_url)
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("appendonly", "yes")
    try:
        found = check_redis(valkey_server.connection_url)
        assert verdicts(found) == {"Redis": OK, "Redis eviction": OK, "Redis persistence": OK}
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("appendonly", "no")
        found = check_redis(valkey_server.connection_url)
        assert verdicts(found) == {
            "Redis": OK,
            "Redis eviction": FAILED,
            "Redis persistence": WARNING,
        }
        assert "allkeys-lru" in found[1].said
        assert "noeviction" in found[1].fix
        assert "appendonly yes" in found[2].fix
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.close()


def test_redis_that_is_away_refuses_or_is_too_old(valkey_server):
    (away,) = check_redis(f"redis://127.0.0.1:{free_port()}/0")
    assert (away.verdict, "REDIS_URL" in away.fix) == (FAILED, True)
    assert "Connection refused" in away.said
    for url in ("nonsense", "redis://:hush/word@127.0.0.1/0"):
        (nonsense,) = check_redis(url)
        assert (nonsense.verdict, "no Redis URL" in nonsense.said) == (FAILED, True)
        assert "redis://:password@host" in nonsense.fix
        assert "hush" not in nonsense.said + nonsense.fix
    client = redis.Redis.from_url(valkey_server.connection_url)
    client.acl_setuser("doctor", enabled=True, passwords=["+right"], commands=["+@all"])
    try:
        base = valkey_server.connection_url.partition("://")[2].rpartition("@")[2]
        (refused,) = check_redis(f"redis://doctor:wrong@{base}")
        assert (refused.verdict, "password" in refused.said) == (FAILED, True)
        assert "wrong" not in refused.said
    finally:
        client.acl_deluser("doctor")
        client.close()
    assert check_version("redis", "5.0.14").verdict is FAILED
    assert check_version("redis", "6.2.0").verdict is OK
    (none,) = check_redis(None)
    assert none.verdict is SKIPPED


def test_a_database_at_the_newest_revision_and_on_time(any_engine):
    url = any_engine.url.render_as_string(hide_password=False)
    assert check_database(any_engine, url).verdict is OK
    assert check_clock(any_engine).verdict is OK
    late = check_clock(any_engine, lambda: time.time() - 60)
    assert (late.verdict, "-60" in late.said, "set-ntp" in late.fix) == (FAILED, True, True)


@pytest.mark.parametrize(("revision", "fix"), [("0001", "migrate"), ("9999", "Upgrade")])
def test_a_database_at_another_revision(any_engine, revision, fix):
    with any_engine.begin() as connection:
        update = text("UPDATE alembic_version SET version_num = :revision")
        connection.execute(update, {"revision": revision})
    found = check_database(any_engine, "sqlite://")
    assert (found.verdict, revision in found.said, fix in found.fix) == (FAILED, True, True)


def test_an_empty_database_was_never_migrated(tmp_path):
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    engine = make_engine(url)
    found = check_database(engine, url)
    engine.dispose()
    assert (found.verdict, found.fix) == (FAILED, "perroquet migrate")
    assert found.said == f"{url} was never migrated"


def test_a_database_that_is_not_there_yet_is_not_made(tmp_path):
    url = f"sqlite:///{tmp_path / 'none.db'}"
    engine = open_existing(url)
    found = check_database(engine, url)
    assert found.verdict == WARNING
    assert "perroquet up make it" in found.fix
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_no_database_or_away(tmp_path):
    file = tmp_path / "x.db"
    file.write_text("this is no database, but a text that is long enough to be looked at" * 20)
    for url in (f"sqlite:///{file}", "postgresql://u:hush@127.0.0.1:1/d"):
        engine = open_existing(url)
        found = check_database(engine, url)
        engine.dispose()
        assert (found.verdict, "DATABASE_URL" in found.fix) == (FAILED, True)
        assert "hush" not in found.said


def test_a_store_that_can_be_written_and_read_and_is_left_as_it_was(tmp_path):
    assert check_store(f"file://{tmp_path}").verdict is OK
    assert list(tmp_path.iterdir()) == []
    made_later = check_store(f"file://{tmp_path}/later/store")
    assert (made_later.verdict, "first use" in made_later.said) == (OK, True)
    assert list(tmp_path.iterdir()) == []
    elsewhere = check_store(f"file://{tmp_path}/later/store", is_used=True)
    assert (elsewhere.verdict, "STORE_URL" in elsewhere.fix) == (WARNING, True)
    assert check_store(f"file://{tmp_path}", is_used=True).verdict is OK
    assert check_store("memory://perroquet").verdict is OK


def test_a_store_that_cannot_be_used(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for url in (f"file://{file}", f"file://{file}/store", "nonsense://bucket"):
        found = check_store(url)
        assert (found.verdict, "STORE_URL" in found.fix) == (FAILED, True), url


def process(kind, version="1.0", host="h"):
    return Presence(f"{kind}-1", kind, {"version": version, "host": host}, 1.0)


@pytest.mark.parametrize(
    ("kinds", "verdict", "word"),
    [
        (("generate", "upkeep", "bot", "finetune"), OK, "1 bot, 1 finetune, 1 generate, 1 upkeep"),
        ((), WARNING, "perroquet up"),
        (("bot", "upkeep"), FAILED, "worker generate"),
        (("bot", "generate"), FAILED, "worker upkeep"),
        (("generate", "upkeep", "finetune"), WARNING, "perroquet bot"),
        (("generate", "upkeep", "bot"), WARNING, "worker finetune"),
    ],
)
def test_workers(kinds, verdict, word):
    found = check_workers([process(kind) for kind in kinds])
    assert found.verdict is verdict
    assert word in found.said + found.fix


def test_versions():
    processes = [process("bot"), process("generate")]
    assert check_versions(processes, "1.0").verdict is OK
    found = check_versions([*processes, process("upkeep", "0.9", "attic")], "1.0")
    assert (found.verdict, "0.9 on attic" in found.said) == (FAILED, True)


def bots(*shards):
    return [
        Presence(f"bot-{number}", "bot", {"shards": text}, 1.0)
        for number, text in enumerate(shards)
    ]


@pytest.mark.parametrize(
    ("shards", "verdict", "word"),
    [
        (("0-3/8", "4-7/8"), OK, "each of 8"),
        (("0-3/8",), FAILED, "nobody hears 4, 5, 6, 7"),
        (("0-3/8", "3-7/8"), FAILED, "several hear 3"),
        (("0-3/8", "4-7/16"), FAILED, "two ways"),
        (("0-7/8", ""), FAILED, "two ways"),
        (("0/99",), FAILED, "…"),
    ],
)
def test_shards(shards, verdict, word):
    found = check_shards(bots(*shards))
    assert found.verdict is verdict
    assert word in found.said


def test_shards_of_a_process_alone():
    assert check_shards(bots("")) is None
    assert check_shards([process("generate")]) is None


def test_many_servers_that_lack_something_are_counted():
    guilds = [{"name": f"S{n}", "permissions": "0"} for n in range(5)]
    found = check_permissions(guilds, 1)
    assert (found.verdict, "2 more servers" in found.said) == (WARNING, True)
    administrator = [{"name": "S", "permissions": str(1 << 3)}]
    assert check_permissions(administrator, 1).verdict is OK


def test_discord_without_a_token_or_without_a_network():
    (found,) = check_discord("", "")
    assert found.verdict is SKIPPED
    (away,) = check_discord("secret-token", f"http://127.0.0.1:{free_port()}/api")
    assert (away.verdict, "network" in away.fix) == (FAILED, True)
    assert "Cannot connect to host 127.0.0.1" in away.said
    assert "secret-token" not in away.said + away.fix


def test_intents():
    assert check_intents(1 << 18).verdict is OK
    assert check_intents(1 << 19 | 1).verdict is OK
    off = check_intents(1 << 12)
    assert (off.verdict, "developer portal" in off.fix) == (FAILED, True)


async def test_discord_s_answers(tmp_path):
    import asyncio

    base = {"PERROQUET_DATA_DIR": str(tmp_path), "PERROQUET_PLAYGROUND__PORT": "0"}
    server = PlaygroundServer(load_settings(base, Path("none")), rate_limits=False)
    await server.start()
    try:
        from core.playground_token import PLAYGROUND_TOKEN

        found = await asyncio.to_thread(check_discord, PLAYGROUND_TOKEN, server.rest_base)
        well = {"Discord": OK, "Discord intents": OK, "Discord permissions": OK}
        assert verdicts(found) == well
        assert "client_id=1000" in found[2].said
        roles = server.world.guilds[AVIARY_GUILD]["roles"]
        roles[0]["permissions"] = str(1 << 10 | 1 << 11)
        found = await asyncio.to_thread(check_discord, PLAYGROUND_TOKEN, server.rest_base)
        assert verdicts(found) == {**well, "Discord permissions": WARNING}
        assert "“Volière” lacks" in found[2].said
        assert "attach_files" in found[2].said
        assert "send_messages," not in found[2].said
        server.world.guilds.clear()
        found = await asyncio.to_thread(check_discord, PLAYGROUND_TOKEN, server.rest_base)
        assert "in no server" in found[2].said
        found = await asyncio.to_thread(check_discord, "wrong", server.rest_base)
        assert verdicts(found) == {"Discord": FAILED}
        assert "Reset" in found[0].fix
    finally:
        await server.stop()


async def test_discord_that_has_a_bad_day():
    import asyncio

    async def answer(_request):
        return web.Response(status=503)

    application = web.Application()
    application.router.add_get("/applications/@me", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        (found,) = await asyncio.to_thread(check_discord, "t", f"http://127.0.0.1:{port}")
        assert (found.verdict, "503" in found.said) == (FAILED, True)
    finally:
        await runner.cleanup()

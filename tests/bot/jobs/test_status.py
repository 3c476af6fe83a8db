from core.jobs.presence import announce
from core.jobs.states import JobState
from playground import cast
from tests.bot.jobs.helpers import text_of, use
from tests.core.corpora.helpers import add_version
from tests.core.jobs.jobs_of_guilds import GUILD, OTHER_GUILD, add_job, run


async def test_workers_queues_model_and_the_last_error_are_shown(wire):
    add_version(wire.engine, wire.settings.generation.model, store_path="models/shared/1")
    add_version(wire.engine, "ours", GUILD, store_path="models/ours/1")
    add_version(wire.engine, "theirs", OTHER_GUILD, store_path="models/theirs/1")
    info = {
        "host": "secret-host",
        "version": "9.9",
        "device": "cuda:0",
        "memory_used_bytes": 3 * 2**30,
        "memory_total_bytes": 12 * 2**30,
        "jobs": 2,
        "models": {
            "models/ours/1": {"dtype": "int16"},
            "models/theirs/1": {"dtype": "int8"},
            "models/gone/1": {},
        },
        "tokens_per_second": 41.5,
    }
    run(wire.engine, announce, "generate-secret-host-1", "generate", info)
    add_job(wire.engine)
    add_job(wire.engine, JobState.RUNNING)
    failed = add_job(wire.engine, JobState.FAILED)
    async with wire.bot():
        said = await use(wire, cast.CAMILLE, "status")
        told = text_of(said)
        assert said["flags"] & 64
        assert "At work" in told
        assert "Generation · `cuda:0` · 3.0 of 12.0 GiB · `ours` (int16) · 2 jobs · " in told
        assert "· 41.5 tokens/s" in told
        assert wire.settings.generation.model in told
        assert "answer: 1 waiting, 1 running, the longest for" in told
        assert f"`{failed}`: I cannot use that" in told
        assert "`9.9`" in told
        assert "theirs" not in told
        assert "secret-host" not in told
        french = text_of(await use(wire, cast.CAMILLE, "status", locale="fr"))
        assert "3,0 sur 12,0 Gio" in french


async def test_a_status_ends_at_the_wall(wire):
    add_job(wire.engine)
    failed = add_job(wire.engine, JobState.FAILED)
    add_version(wire.engine, "secret-model", GUILD)
    add_job(wire.engine, JobState.FAILED, guild_id=OTHER_GUILD)
    async with wire.bot():
        told = text_of(await use(wire, cast.BRUNO, "status", channel=cast.SALON))
        assert "Nobody answers" in told
        assert failed not in told
        assert "answer: 0 waiting, 0 running" in told
        said = await use(wire, cast.BRUNO, "status", channel=cast.SALON, scope="all")
        assert "Only the owner" in said["content"]
        said = await use(wire, cast.ALICE, "status")
        assert "may not" in said["content"]


async def test_the_owner_of_the_application_is_told_of_all_servers_and_hosts(wire):
    add_version(wire.engine, wire.settings.generation.model)
    run(wire.engine, announce, "generate-1", "generate", {"host": "gpu-7", "device": "cuda:0"})
    add_job(wire.engine)
    failed = add_job(wire.engine, JobState.FAILED, guild_id=OTHER_GUILD)
    async with wire.bot():
        told = text_of(await use(wire, cast.CAMILLE, "status", scope="all"))
        assert "Jobs of all servers: answer: 1 waiting" in told
        assert "Generation · `gpu-7` · `cuda:0`" in told
        assert f"Volière `{failed}`: I cannot use that" in told
        assert f"Answers here: `{wire.settings.generation.model}`" in told
        told = text_of(await use(wire, cast.CAMILLE, "status"))
        assert "Jobs of this server: answer: 1 waiting" in told
        assert "gpu-7" not in told
        assert failed not in told


async def test_a_status_of_more_workers_than_a_field_holds_counts_the_rest(wire):
    info = {"device": "AMD Instinct MI300X, the first of eight", "version": "0.1.0", "jobs": 12}
    for number in range(40):
        run(wire.engine, announce, f"generate-{number:02}", "generate", info)
    async with wire.bot():
        said = await use(wire, cast.CAMILLE, "status")
    workers = said["embeds"][0]["fields"][0]["value"]
    shown = workers.splitlines()
    assert len(workers) <= 1024
    # The bot is one more.
    assert shown[-1] == f"… and {41 - len(shown) + 1} more"

import pytest

from core.errors import SettingsError
from core.settings import load_settings
from core.sharding import Share, parse_shards, shard_of


@pytest.mark.parametrize(
    ("text", "shards", "count"),
    [
        ("0-3/16", (0, 1, 2, 3), 16),
        ("5/16", (5,), 16),
        ("8,0-1,1/9", (0, 1, 8), 9),
        ("0/1", (0,), 1),
    ],
)
def test_shards_are_read(text, shards, count):
    assert parse_shards(text) == (shards, count)


@pytest.mark.parametrize(
    "text", ["16/16", "3-1/4", "0-3", "/4", "a/4", "0--1/4", "0/0", "-1/4", "0/4 ", "²/4", "0-4/4"]
)
def test_shards_out_of_form_are_refused_with_the_name_of_the_setting(text, tmp_path):
    with pytest.raises(ValueError, match=r"."):
        parse_shards(text)
    with pytest.raises(SettingsError) as refused:
        load_settings({"PERROQUET_DISCORD__SHARDS": text}, tmp_path / "none")
    assert refused.value.data["key"] == "discord.shards"


def test_each_guild_has_one_shard_as_discord_says_and_direct_messages_have_the_first():
    assert shard_of(197038439483310086, 16) == (197038439483310086 >> 22) % 16
    assert shard_of(None, 16) == 0
    shares = [Share.of("bot-0", f"{n}/4") for n in range(4)]
    for guild_id in (None, 1, 5 << 22, 6 << 22 | 99, 197038439483310086):
        (hearer,) = [share for share in shares if share.hears(guild_id)]
        assert hearer.names == (hearer.name_for(guild_id),)
        assert {share.name_for(guild_id) for share in shares} == {hearer.name_for(guild_id)}
    assert [share.leads for share in shares] == [True, False, False, False]


def test_one_process_hears_everything_under_its_own_name():
    share = Share.of("bot-0", "")
    assert share.names == ("bot-0",)
    assert share.hears(5 << 22)
    assert share.name_for(5 << 22) == "bot-0"
    assert share.leads


def test_the_longest_name_fits_its_column():
    share = Share.of("bot-0", "99998/99999")
    assert len(share.names[0]) <= 32

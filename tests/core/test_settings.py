from pathlib import Path

import pytest

from core.errors import SettingsError
from core.settings import Settings, describe_settings, load_settings, mask_url
from core.settings_page import explain_settings


def test_without_anything_set_the_defaults_hold(tmp_path):
    settings = load_settings({}, tmp_path / "absent.toml")
    assert settings.database_url.startswith("sqlite:///")
    assert settings.discord_token == ""


def test_the_environment_wins_over_the_file(tmp_path):
    file = tmp_path / "perroquet.toml"
    file.write_text("[ledger]\nlease_seconds = 5\nmax_crashes = 7\n")
    settings = load_settings({"PERROQUET_LEDGER__LEASE_SECONDS": "9"}, file)
    assert (settings.ledger.lease_seconds, settings.ledger.max_crashes) == (9, 7)


@pytest.mark.parametrize(
    ("environment", "key"),
    [
        ({"PERROQUET_COLOUR": "red"}, "colour"),
        ({"PERROQUET_LEDGER__COLOUR": "red"}, "ledger.colour"),
        ({"PERROQUET_LEDGER__LEASE_SECONDS": "-1"}, "ledger.lease_seconds"),
        ({"PERROQUET_LEDGER__LEASE_SECONDS": "soon"}, "ledger.lease_seconds"),
    ],
)
def test_an_unknown_key_or_a_bad_value_is_named(tmp_path, environment, key):
    with pytest.raises(SettingsError) as caught:
        load_settings(environment, tmp_path / "absent.toml")
    assert caught.value.data["key"] == key
    assert key in str(caught.value)


def test_a_setting_with_parts_is_json_in_the_environment(tmp_path):
    name = "PERROQUET_GENERATION__REMOTES"
    value = '{"gpt2": {"url": "http://gpu-1:8000/v1", "context_window": 1024}}'
    settings = load_settings({name: value}, tmp_path / "absent.toml")
    assert settings.generation.remotes["gpt2"].context_window == 1024
    for wrong in ("{", '{"gpt2": {"url": "gpu-1"}}', "[1]"):
        with pytest.raises(SettingsError, match=r"generation\.remotes"):
            load_settings({name: wrong}, tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("GENERATION__TEMPERATURE", "inf", "“generation.temperature” must be a finite number."),
        ("GENERATION__THREADS", "many", "“generation.threads” must be a valid integer."),
        ("GENERATION__CACHE_MAX_TOKENS", "1", "must be greater than or equal to 512."),
        ("DISCORD__SHARDS", "q", "“discord.shards” cannot be read: “q” is not of the form"),
    ],
)
def test_what_is_wrong_with_a_value_is_said_plainly(tmp_path, variable, value, said):
    with pytest.raises(SettingsError) as caught:
        load_settings({f"PERROQUET_{variable}": value}, tmp_path / "absent.toml")
    assert said in str(caught.value)


def test_an_unknown_key_in_the_file_is_named(tmp_path):
    file = tmp_path / "perroquet.toml"
    file.write_text("[chat]\nspeed = 3\n")
    with pytest.raises(SettingsError, match=r"chat\.speed"):
        load_settings({}, file)


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    file = tmp_path / "perroquet.toml"
    file.write_text("[generation]\nmodle = 'x'\ntemperature = -1\n")
    with pytest.raises(SettingsError) as caught:
        load_settings({"PERROQUET_COLOUR": "red"}, file)
    keys = {"generation.modle", "generation.temperature", "colour"}
    assert set(caught.value.data["keys"].split(", ")) == keys
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(any(f"“{key}”" in line for line in lines) for key in keys)


def test_a_file_that_is_no_toml_is_named(tmp_path):
    file = tmp_path / "perroquet.toml"
    file.write_text("what?")
    with pytest.raises(SettingsError, match=r"perroquet\.toml"):
        load_settings({}, file)


def test_the_well_known_variables_are_read(tmp_path):
    token_file = tmp_path / "token"
    token_file.write_text("abc\n")
    settings = load_settings(
        {
            "DATABASE_URL": "postgresql://u:p@h/d",
            "REDIS_URL": "redis://h",
            "STORE_URL": "s3://b",
            "DISCORD_TOKEN_FILE": str(token_file),
        },
        tmp_path / "absent.toml",
    )
    assert settings.database_url == "postgresql://u:p@h/d"
    assert (settings.redis.url, settings.store_url) == ("redis://h", "s3://b")
    assert settings.discord_token == "abc"


def test_a_token_file_that_is_missing_is_named(tmp_path):
    settings = load_settings({"DISCORD_TOKEN_FILE": str(tmp_path / "no")}, tmp_path / "absent")
    with pytest.raises(SettingsError, match="DISCORD_TOKEN_FILE"):
        _ = settings.discord_token


def test_secrets_are_masked_wherever_settings_are_shown(tmp_path):
    settings = load_settings(
        {"DATABASE_URL": "postgresql://u:hush@h/d", "DISCORD_TOKEN": "hush"}, tmp_path / "absent"
    )
    assert "hush" not in "\n".join(describe_settings(settings))
    assert "hush" not in repr(settings.discord)
    remotes = {"PERROQUET_GENERATION__REMOTES": '{"coco": {"url": "http://me:hush@gpu/v1"}}'}
    settings = load_settings(remotes, tmp_path / "absent")
    assert "hush" not in "\n".join(describe_settings(settings))
    assert mask_url("postgresql://u:hush@h/d") == "postgresql://u:***@h/d"
    assert mask_url("postgresql://u:hu@sh@h/d") == "postgresql://u:***@h/d"
    assert mask_url("simplecache::s3://key:hush@bucket/d") == "simplecache::s3://key:***@bucket/d"
    assert mask_url("sqlite:////srv/perroquet.db") == "sqlite:////srv/perroquet.db"


def test_the_page_of_settings_is_current():
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == explain_settings(), "perroquet config --markdown > docs/settings.md"


def test_the_sample_for_operators_is_accepted_and_shows_the_defaults(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "operators.md").read_text(encoding="utf-8")
    file = tmp_path / "perroquet.toml"
    file.write_text(page.partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
    shown, defaults = load_settings({}, file), load_settings({}, tmp_path / "absent.toml")
    for area in ("generation", "ledger", "retention"):
        assert getattr(shown, area) == getattr(defaults, area)


def test_every_setting_says_what_it_means():
    areas = [
        field.annotation for name, field in Settings.model_fields.items() if name != "data_dir"
    ]
    keys = [(area, key, field) for area in areas for key, field in area.model_fields.items()]
    assert [(area, key) for area, key, field in keys if not field.description] == []


def test_what_is_not_set_is_said_to_be_so():
    lines = describe_settings(load_settings({}, Path("nowhere.toml")))
    assert "discord.token_file = (not set)" in lines
    assert "redis.url = (not set)" in lines

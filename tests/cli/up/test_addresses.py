import pytest

from cli.up.addresses import published_addresses, read_redis_url, with_redis, withdraw_addresses
from cli.up.lock import AlreadyRunningError, data_lock
from core.settings import load_settings


def test_addresses_are_there_as_long_as_they_hold_and_for_the_owner_alone(tmp_path):
    assert read_redis_url(tmp_path) is None
    with published_addresses(tmp_path, "redis://:secret@127.0.0.1:1/0"):
        assert read_redis_url(tmp_path) == "redis://:secret@127.0.0.1:1/0"
        (file,) = tmp_path.iterdir()
        assert file.stat().st_mode & 0o077 == 0
    assert read_redis_url(tmp_path) is None


def test_what_a_killed_process_left_behind_is_taken_away(tmp_path):
    (tmp_path / "addresses.json").write_text('{"redis_url": "redis://gone"}')
    withdraw_addresses(tmp_path)
    assert read_redis_url(tmp_path) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"redis'])
def test_a_damaged_file_is_as_good_as_none(tmp_path, content):
    (tmp_path / "addresses.json").write_text(content)
    assert read_redis_url(tmp_path) is None


def test_only_the_redis_is_exchanged(tmp_path):
    variables = {"PERROQUET_REDIS__KEY_PREFIX": "mine", "PERROQUET_DATA_DIR": "/x"}
    settings = with_redis(load_settings(variables, tmp_path / "none"), "redis://new")
    assert (settings.redis.url, settings.redis.key_prefix) == ("redis://new", "mine")
    assert str(settings.data_dir) == "/x"


def test_a_data_folder_has_one_holder_and_the_other_is_told_who(tmp_path):
    import os

    with data_lock(tmp_path), pytest.raises(AlreadyRunningError, match=str(os.getpid())):  # noqa: SIM117
        with data_lock(tmp_path):
            pytest.fail("two processes hold the folder")
    with data_lock(tmp_path):
        pass

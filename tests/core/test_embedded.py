import socket
import subprocess
import time
from contextlib import contextmanager

import pytest
import redis

from core import embedded
from core.embedded import EmbeddedValkey, free_port, is_listening, make_valkey
from core.errors import ServiceUnavailableError


@contextmanager
def running(valkey):
    process = subprocess.Popen(valkey.prepare(), stdout=subprocess.DEVNULL)
    client = redis.Redis.from_url(valkey.url)
    try:
        deadline = time.monotonic() + 10
        while not is_listening(valkey.port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait()


def test_a_second_start_on_the_same_folder_finds_what_was_there(tmp_path):
    folder = tmp_path / 'a "folder" with spaces and é'
    with running(make_valkey(folder)) as client:
        client.set("parrot", "green")
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    with running(make_valkey(folder)) as client:
        assert client.get("parrot") == b"green"


def test_it_asks_for_a_password_that_only_its_owner_can_read(tmp_path):
    valkey = make_valkey(tmp_path)
    assert valkey.password not in " ".join(valkey.prepare())
    with running(valkey):
        stranger = redis.Redis(port=valkey.port)
        with pytest.raises(redis.exceptions.RedisError):
            stranger.ping()
        stranger.close()
    assert (tmp_path / "valkey.conf").stat().st_mode & 0o077 == 0


def test_unreadable_data_is_kept_aside(tmp_path):
    valkey = EmbeddedValkey(tmp_path, free_port())
    assert valkey.set_data_aside() is None
    valkey.prepare()
    (tmp_path / "data" / "appendonlydir").mkdir()
    aside = valkey.set_data_aside()
    assert (aside / "appendonlydir").is_dir()
    assert not (tmp_path / "data").exists()


def test_a_machine_without_a_valkey_is_told_what_to_set(tmp_path, monkeypatch):
    def missing():
        raise embedded.ValkeyBinaryNotFoundError("no")

    monkeypatch.setattr(embedded, "get_binary_path", missing)
    with pytest.raises(ServiceUnavailableError, match="REDIS_URL"):
        make_valkey(tmp_path).prepare()


def test_a_port_is_free_until_somebody_listens():
    port = free_port()
    assert not is_listening(port)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        assert is_listening(port)

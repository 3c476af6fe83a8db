import os
import subprocess
import sys

import pytest


def perroquet(tmp_path, *arguments, **variables):
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PERROQUET_")},
        "PERROQUET_DATA_DIR": str(tmp_path / "data"),
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )


def test_help_names_the_commands(tmp_path):
    result = perroquet(tmp_path, "--help")
    assert result.returncode == 0
    for command in ("up", "chat", "migrate", "models", "version", "bench", "finetune"):
        assert command in result.stdout


def test_version_and_config_print_without_secrets(tmp_path):
    assert perroquet(tmp_path, "version").stdout.startswith("perroquet 0.")
    url = "postgresql://u:hush@127.0.0.1/d"
    shown = perroquet(tmp_path, "config", DATABASE_URL=url).stdout
    assert "generation.model = smollm2-135m-instruct" in shown
    assert "hush" not in shown


def test_a_wrong_setting_is_one_line_and_exit_code_2(tmp_path):
    result = perroquet(tmp_path, "config", PERROQUET_COLOUR="red")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "colour" in result.stderr


def test_migrate_makes_the_database(tmp_path):
    result = perroquet(tmp_path, "migrate")
    assert (result.returncode, "newest" in result.stdout) == (0, True)
    assert (tmp_path / "data" / "perroquet.db").exists()


def test_models_are_added_listed_verified_and_removed(tmp_path, tiny_gpt2_folder):
    source = f"path:{tiny_gpt2_folder}"
    added = perroquet(tmp_path, "models", "add", source, "--name", "tiny")
    assert added.returncode == 0, added.stderr
    assert "tiny" in perroquet(tmp_path, "models", "list").stdout
    assert "whole" in perroquet(tmp_path, "models", "verify").stdout
    (weights,) = (tmp_path / "data" / "store").rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    damaged = perroquet(tmp_path, "models", "verify")
    assert (damaged.returncode, "model.safetensors" in damaged.stderr) == (1, True)
    assert perroquet(tmp_path, "models", "remove", "tiny", "--yes").returncode == 0
    assert "No models yet" in perroquet(tmp_path, "models", "list").stdout


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("ftp:x", "names no source"),
        ("path:/nowhere", "no model folder"),
        ("gguf:/nowhere", "no file"),
        ("hf:nobody/nothing", "online"),
    ],
)
def test_a_source_that_cannot_be_had_is_one_sentence(tmp_path, source, word):
    result = perroquet(tmp_path, "models", "add", source, HF_HUB_OFFLINE="1")
    assert result.returncode == 1
    assert word in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_that_is_no_model_is_refused_and_nothing_is_published(tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    result = perroquet(tmp_path, "models", "add", f"path:{folder}")
    assert (result.returncode, "cannot be loaded" in result.stderr) == (1, True)
    assert not list((tmp_path / "data").rglob("manifest.json"))


def test_an_unknown_benchmark_is_named(tmp_path):
    result = perroquet(tmp_path, "bench", "nonsense")
    assert (result.returncode, "nonsense" in result.stderr) == (1, True)


def test_a_second_up_on_the_same_data_says_who_runs(tmp_path):
    from cli.up.lock import data_lock

    (tmp_path / "data").mkdir()
    with data_lock(tmp_path / "data"):
        result = perroquet(tmp_path, "up")
    assert result.returncode == 1
    assert str(os.getpid()) in result.stderr

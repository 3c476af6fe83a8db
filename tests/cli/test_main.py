import os
import subprocess
import sys


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


def test_an_option_that_a_benchmark_has_not_is_named(tmp_path):
    result = perroquet(tmp_path, "bench", "jobs", "--files", "3")
    assert result.returncode == 2
    assert "“jobs” has no option --files." in result.stderr


def test_without_a_name_the_benchmarks_are_named(tmp_path):
    names = perroquet(tmp_path, "bench").stdout.split()
    assert {"adapters", "chaos", "finetune", "generate", "path"} <= set(names)
    assert "serving-house" not in names


def test_an_unknown_benchmark_is_named(tmp_path):
    result = perroquet(tmp_path, "bench", "nonsense")
    assert (result.returncode, "nonsense" in result.stderr) == (2, True)


def test_a_second_up_on_the_same_data_says_who_runs(tmp_path):
    from cli.up.lock import data_lock

    (tmp_path / "data").mkdir()
    with data_lock(tmp_path / "data"):
        result = perroquet(tmp_path, "up")
    assert result.returncode == 1
    assert str(os.getpid()) in result.stderr

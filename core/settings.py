"""Typed settings by area, from ``perroquet.toml`` and the environment.

Built once in each entry point with :func:`load_settings` and handed down; nothing reads the
environment at import time. Four variables keep the names that hosts already know
(``DATABASE_URL``, ``REDIS_URL``, ``STORE_URL``, ``DISCORD_TOKEN``, the last also as
``DISCORD_TOKEN_FILE``); every other setting is ``PERROQUET_<AREA>__<KEY>``. The environment wins
over the file. An unknown key is an error that names the key.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_core import ErrorDetails

from core.errors import SettingsError
from core.settings_generation import Area, Days, Seconds
from core.settings_generation import GenerationSettings as GenerationSettings
from core.settings_generation import RemoteSettings as RemoteSettings
from core.sharding import check_shards

ENVIRONMENT_PREFIX = "PERROQUET_"
WELL_KNOWN_VARIABLES = {
    "DATABASE_URL": ("database", "url"),
    "REDIS_URL": ("redis", "url"),
    "STORE_URL": ("store", "url"),
    "DISCORD_TOKEN": ("discord", "token"),
    "DISCORD_TOKEN_FILE": ("discord", "token_file"),
}


class DatabaseSettings(Area):
    """Where the truth lies. Empty: SQLite in the data folder."""

    url: str = ""
    """The SQLAlchemy URL, such as `postgresql://user:password@host/perroquet`."""
    pool_size: int = Field(default=10, gt=0)
    """Connections that a process keeps open at most."""


class RedisSettings(Area):
    """Where hints and token streams travel. Empty: an embedded Valkey started by ``up``."""

    url: str = ""
    """Of Redis or Valkey, such as `redis://:password@host:6379/0`."""
    key_prefix: str = "perroquet"
    """Starts every key, so that installations can share a server."""
    stream_max_entries: int = Field(default=20_000, gt=0)
    """Words on their way to one bot process, at most; older ones are dropped."""


class StoreSettings(Area):
    """Where versions of weights and corpora lie: any fsspec URL. Empty: the data folder."""

    url: str = ""
    """Such as `file:///srv/perroquet/store` or `s3://bucket/folder`."""
    patience_seconds: Seconds = 600.0
    """How long a job waits for a store that is away or full before it fails."""
    cache_max_bytes: int = Field(default=20 * 2**30, gt=0)
    """Fetched versions that this host keeps, in bytes; the oldest go first."""


class DiscordSettings(Area):
    """How the bot reaches Discord. Without a token it speaks to the playground."""

    token: SecretStr = SecretStr("")
    """The bot's token."""
    token_file: Path | None = None
    """A file that holds the token, so that no process list and no history shows it."""
    api_base: str = ""
    """Another REST address than Discord's own."""
    gateway_url: str = ""
    """Another gateway than Discord's own."""
    process_name: str = Field(default="bot-0", pattern=r"^[a-z0-9-]{1,32}$")
    """Names this bot process among others; its token stream carries the name."""
    shards: Annotated[str, AfterValidator(check_shards)] = ""
    """The shards that this process hears, of how many, such as `0-3/16`. Empty: all, as many as
    Discord recommends."""
    default_locale: Literal["en", "fr"] = "en"
    """The language of a server that tells none."""


class ChatSettings(Area):
    """How a reply reaches a channel."""

    edit_interval_seconds: Seconds = 1.0
    """How often a growing reply is edited, for each channel."""
    sweep_interval_seconds: Seconds = 2.0
    """How often the bot looks in SQL for answers whose words did not come."""
    delayed_after_seconds: Seconds = 10.0
    """After so long without a word of the answer, the member is told why."""
    history_max_messages: int = Field(default=60, gt=0)
    """Messages of a channel that a model is shown at most."""
    message_max_characters: int = Field(default=4000, gt=0)
    """Of a question; what is longer is refused with a word."""
    member_max_in_flight: int = Field(default=10, ge=0)
    """Answers that one member may wait for at a time; 0 is no bound, as for the next three."""
    member_max_per_minute: int = Field(default=30, ge=0)
    """Questions of one member in a minute; who asks more reads so once."""
    guild_max_in_flight: int = Field(default=256, ge=0)
    """Answers that one server may wait for at a time."""
    guild_max_per_minute: int = Field(default=1200, ge=0)
    """Questions of one server in a minute."""
    persona: str = "You are a helpful AI assistant. Keep answers short."
    """What the model is told of itself, before the conversation. Empty: nothing."""


class LedgerSettings(Area):
    """Leases, crashes and redelivery of jobs."""

    lease_seconds: Seconds = 20.0
    """How long a silent worker keeps a job."""
    isolate_after_crashes: int = Field(default=2, gt=0)
    """A job with this many crashes runs alone in its worker, so that it takes no neighbour down."""
    max_crashes: int = Field(default=4, gt=0)
    """A job with this many crashes has failed."""
    relay_interval_seconds: Seconds = 1.0
    """How often upkeep looks for hints that were lost."""
    redispatch_after_seconds: Seconds = 30.0
    """A hint as old as this may have been lost."""
    reap_interval_seconds: Seconds = 2.0
    """How often upkeep takes jobs back from silent workers."""
    drain_seconds: Seconds = 12.0
    """How long a process that is asked to end lets its jobs run on before it gives them back."""


class FinetuningSettings(Area):
    """Bounds of what an admin may ask of the trainer."""

    device: str = "auto"
    """As `generation.device`."""
    torch_threads: int = Field(default=0, ge=0)
    """Processor threads of the trainer; 0 is one for each core."""
    processes: int = Field(default=1, gt=0)
    """Processes that train one model together on this host, on one GPU each."""
    nice: int = Field(default=0, ge=0, le=19)
    """How far the trainer's processor time stands back behind that of answers on the same host:
    10 lets them go first, 0 shares alike."""
    corpus_max_bytes: int = Field(default=256 * 2**20, gt=0)
    """Of an upload, all files together."""


class RetentionSettings(Area):
    """How long rows live."""

    messages_days: Days = 30
    """Of messages and their answers."""
    jobs_days: Days = 30
    """Of jobs that have ended, their timelines, and the corpora that only they name."""


class PlaygroundSettings(Area):
    """The Discord on loopback."""

    port: int = Field(default=8765, ge=0, lt=65536)
    """Of the page; 0 takes a free one."""


class LogSettings(Area):
    """What the processes print on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is said."""
    format: Literal["console", "json"] = "console"
    """`json` is one object a line."""


class MonitoringSettings(Area):
    """Prometheus figures and health of each process: `/metrics`, `/healthz`, `/readyz`."""

    port: int = Field(default=0, ge=0, le=65_532)
    """0: none. `perroquet up` gives its generation worker this one, and the next three to the
    fine-tuning worker, upkeep and the bot."""
    host: str = "127.0.0.1"
    """The address to listen on; `0.0.0.0` lets other hosts read."""


class TracingSettings(Area):
    """OpenTelemetry traces, from the gateway event of a message to the last edit of its answer."""

    endpoint: str = ""
    """Where spans go, by OTLP over HTTP, such as `http://localhost:4318/v1/traces`. Empty: none are
    made."""
    share: float = Field(default=1.0, ge=0, le=1)
    """Of the messages that are traced."""


class Settings(Area):
    """All settings of one Perroquet installation. Frozen."""

    data_dir: Path = Path("data")
    """Where everything lies that is not kept elsewhere."""
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    store: StoreSettings = StoreSettings()
    discord: DiscordSettings = DiscordSettings()
    chat: ChatSettings = ChatSettings()
    ledger: LedgerSettings = LedgerSettings()
    generation: GenerationSettings = GenerationSettings()
    finetuning: FinetuningSettings = FinetuningSettings()
    retention: RetentionSettings = RetentionSettings()
    playground: PlaygroundSettings = PlaygroundSettings()
    log: LogSettings = LogSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    tracing: TracingSettings = TracingSettings()

    @property
    def database_url(self) -> str:
        """The SQL URL in force, SQLite in ``data_dir`` unless one is set."""
        return self.database.url or f"sqlite:///{self.data_dir.resolve() / 'perroquet.db'}"

    @property
    def store_url(self) -> str:
        """The store's fsspec URL in force, a folder in ``data_dir`` unless one is set."""
        return self.store.url or f"file://{self.data_dir.resolve() / 'store'}"

    @property
    def cache_dir(self) -> Path:
        """Where fetched versions are kept on this host."""
        return self.data_dir / "cache"

    @property
    def discord_token(self) -> str:
        """The bot token from ``DISCORD_TOKEN`` or its file; empty means the playground.

        Raises:
            SettingsError: the file named by ``DISCORD_TOKEN_FILE`` cannot be read.
        """
        token = self.discord.token.get_secret_value()
        if token or self.discord.token_file is None:
            return token
        try:
            return self.discord.token_file.read_text(encoding="utf-8").strip()
        except OSError as exc:
            raise SettingsError(
                f"DISCORD_TOKEN_FILE names {self.discord.token_file}, which cannot be read: {exc}.",
                key="DISCORD_TOKEN_FILE",
            ) from exc


def load_settings(environment: Mapping[str, str], file: Path = Path("perroquet.toml")) -> Settings:
    """Merge ``file`` (where it exists) with ``environment`` and check every key.

    Raises:
        SettingsError: keys are unknown or their values out of range; the text says each of them,
            ``data["keys"]`` names them and ``data["key"]`` the first.
    """
    values: dict[str, Any] = _read_toml(file)
    for name, value in environment.items():
        path = _path_of_variable(name)
        if path is not None and value != "":
            _set_nested(values, path, value, name)
    try:
        return Settings(**values)
    except ValidationError as exc:
        raise _translate(exc) from exc


def mask_url(url: str) -> str:
    """The URL with its passwords masked, for people and logs.

    URLs of databases, of Redis and of fsspec's chained file systems are all of this form; a
    password may hold an ``@`` itself.
    """
    return re.sub(r"://([^:@/]*):[^@]*@(?:[^@/]*@)*", r"://\1:***@", url)


def _read_toml(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(f"{file} cannot be read: {exc}.", key=str(file)) from exc


def names_token(variable: str) -> bool:
    """Whether a variable of the environment holds Discord's token, or says where it lies."""
    return _path_of_variable(variable) in (("discord", "token"), ("discord", "token_file"))


def _path_of_variable(name: str) -> tuple[str, ...] | None:
    if name in WELL_KNOWN_VARIABLES:
        return WELL_KNOWN_VARIABLES[name]
    if name.startswith(ENVIRONMENT_PREFIX):
        return tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
    return None


def _set_nested(values: dict[str, Any], path: tuple[str, ...], value: str, name: str) -> None:
    *areas, key = path
    for area in areas:
        values = values.setdefault(area, {})
        if not isinstance(values, dict):
            raise SettingsError(f"{name} names no setting.", key=name)
    values[key] = value


def _translate(exc: ValidationError) -> SettingsError:
    """All that is wrong, a line each, so that nobody mends one key only to hear of the next."""
    wrong = exc.errors(include_url=False, include_input=False)
    keys = [".".join(str(part) for part in error["loc"]) for error in wrong]
    lines = [
        f"Unknown setting “{key}”. See docs/settings.md for the list."
        if error["type"] == "extra_forbidden"
        else f"Setting “{key}” {_say(error)}."
        for key, error in zip(keys, wrong, strict=True)
    ]
    return SettingsError("\n".join(lines), key=keys[0], keys=", ".join(keys))


def _say(error: ErrorDetails) -> str:
    """What is wrong with a value. The value itself may be a secret."""
    said = error["msg"].replace("String should", "must").replace("Input should", "must")
    # Why a text is no number is plain enough.
    said = said.split(", unable to parse", maxsplit=1)[0].removeprefix("Value error, ").rstrip(".")
    return said if said.startswith("must") else f"cannot be read: {said}"


def describe_settings(settings: Settings) -> list[str]:
    """Every setting as ``area.key = value``, with tokens and passwords masked."""
    lines = [f"data_dir = {settings.data_dir}"]
    for area, values in settings.model_dump(mode="json").items():
        if isinstance(values, dict):
            lines += [f"{area}.{key} = {_shown(key, value)}" for key, value in values.items()]
    return lines


def _shown(key: str, value: object) -> object:
    if value in ("", None):
        return "(not set)"
    if isinstance(value, dict):
        return {inner: _shown(inner, each) for inner, each in value.items()}
    return mask_url(value) if key == "url" and isinstance(value, str) else value

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

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from sqlalchemy import make_url

from core.errors import SettingsError

ENVIRONMENT_PREFIX = "PERROQUET_"
WELL_KNOWN_VARIABLES = {
    "DATABASE_URL": ("database", "url"),
    "REDIS_URL": ("redis", "url"),
    "STORE_URL": ("store", "url"),
    "DISCORD_TOKEN": ("discord", "token"),
    "DISCORD_TOKEN_FILE": ("discord", "token_file"),
}

Seconds = Annotated[float, Field(gt=0)]
Days = Annotated[float, Field(gt=0)]


class _Area(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatabaseSettings(_Area):
    """Where the truth lies. Empty: SQLite in the data folder."""

    url: str = ""
    pool_size: int = Field(default=10, gt=0)


class RedisSettings(_Area):
    """Where hints and token streams travel. Empty: an embedded Valkey started by ``up``."""

    url: str = ""
    key_prefix: str = "perroquet"
    stream_max_entries: int = Field(default=20_000, gt=0)


class StoreSettings(_Area):
    """Where versions of weights and corpora lie: any fsspec URL. Empty: the data folder."""

    url: str = ""
    cache_max_bytes: int = Field(default=20 * 2**30, gt=0)


class DiscordSettings(_Area):
    """How the bot reaches Discord. Without a token it speaks to the playground."""

    token: SecretStr = SecretStr("")
    token_file: Path | None = None
    api_base: str = ""
    gateway_url: str = ""
    # Names this bot process among others; its token stream carries the name.
    process_name: str = Field(default="bot-0", pattern=r"^[a-z0-9-]{1,32}$")
    default_locale: Literal["en", "fr"] = "en"


class ChatSettings(_Area):
    """How a reply reaches a channel."""

    edit_interval_seconds: Seconds = 1.0
    sweep_interval_seconds: Seconds = 2.0
    # After so long without a word of the answer, the member is told once that it comes late.
    delayed_after_seconds: Seconds = 10.0
    history_max_messages: int = Field(default=60, gt=0)
    message_max_characters: int = Field(default=4000, gt=0)
    # What the model is told of itself, before the conversation. Empty: nothing.
    persona: str = (
        "You are Perroquet, a friendly and curious parrot who chats in a Discord channel. "
        "Answer in the language of the last message, in a few short sentences."
    )


class LedgerSettings(_Area):
    """Leases, crashes and redelivery of jobs."""

    lease_seconds: Seconds = 20.0
    # A job with this many crashes runs alone in its worker, so that it takes no neighbour down.
    isolate_after_crashes: int = Field(default=2, gt=0)
    max_crashes: int = Field(default=4, gt=0)
    relay_interval_seconds: Seconds = 1.0
    redispatch_after_seconds: Seconds = 30.0
    reap_interval_seconds: Seconds = 2.0
    # How long a process that is asked to end lets its jobs run on before it gives them back.
    drain_seconds: Seconds = 15.0


class GenerationSettings(_Area):
    """What answers, and how it samples."""

    model: str = "smollm2-135m-instruct"
    device: str = "auto"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    # Whole models that a worker keeps loaded at a time.
    max_loaded_models: int = Field(default=2, gt=0)
    max_batch_size: int = Field(default=16, gt=0)
    # Tokens that all running answers together may hold in the KV cache.
    cache_max_tokens: int = Field(default=32_768, gt=0)
    threads: int = Field(default=64, gt=0)
    torch_threads: int = Field(default=0, ge=0)
    max_new_tokens: int = Field(default=256, gt=0)
    temperature: float = Field(default=0.4, ge=0)
    top_p: float = Field(default=0.9, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    repetition_penalty: float = Field(default=1.1, gt=0)


class FinetuningSettings(_Area):
    """Bounds of what an admin may ask of the trainer."""

    device: str = "auto"
    torch_threads: int = Field(default=0, ge=0)
    corpus_max_bytes: int = Field(default=256 * 2**20, gt=0)


class RetentionSettings(_Area):
    """How long rows live."""

    messages_days: Days = 30
    jobs_days: Days = 30


class PlaygroundSettings(_Area):
    """The Discord on loopback."""

    port: int = Field(default=8765, ge=0, lt=65536)


class LogSettings(_Area):
    """What the processes print on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Settings(_Area):
    """All settings of one Perroquet installation. Frozen."""

    data_dir: Path = Path("data")
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
        SettingsError: a key is unknown or its value is out of range; ``data["key"]`` names it.
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


def redact_url(url: str) -> str:
    """The URL with its password masked, for people and logs."""
    return make_url(url).render_as_string(hide_password=True)


def mask_url(url: str) -> str:
    """The same for URLs of every form, such as those of chained fsspec file systems."""
    return re.sub(r"://([^:@/]*):[^@]*@", r"://\1:***@", url)


def _read_toml(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(f"{file} cannot be read: {exc}.", key=str(file)) from exc


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
    first = exc.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return SettingsError(
            f"Unknown setting “{key}”. See docs/operators.md for the list.", key=key
        )
    return SettingsError(f"Setting “{key}”: {first['msg']}.", key=key)


def describe_settings(settings: Settings) -> list[str]:
    """Every setting as ``area.key = value``, with tokens and passwords masked."""
    lines = [f"data_dir = {settings.data_dir}"]
    for area, values in settings.model_dump(mode="json").items():
        if isinstance(values, dict):
            lines += [f"{area}.{key} = {_mask(key, value)}" for key, value in values.items()]
    return lines


def _mask(key: str, value: object) -> object:
    return mask_url(value) if key == "url" and isinstance(value, str) else value

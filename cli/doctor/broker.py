"""Redis or Valkey: reachable, new enough, never evicting, keeping a log."""

from typing import Any

import redis
from redis.exceptions import AuthenticationError, RedisError

from cli.doctor.findings import Finding, failed, ok, reason_of, skipped, warning
from cli.up.readiness import REDIS_URL_FORM

_OLDEST_REDIS = (6, 2)
_TIMEOUT_SECONDS = 3


def check_redis(url: str | None) -> list[Finding]:
    """Everything about Redis.

    Args:
        url: of the settings, or of the ``up`` that runs on the same data; None without either.
    """
    if not url:
        return [skipped("Redis", "the embedded Valkey starts with “perroquet up”")]
    try:
        info = _read_info(url)
    except AuthenticationError:
        return [failed("Redis", "refuses the user or password", "Correct them in REDIS_URL.")]
    except ValueError:
        # What the client says of it may quote a part of the password.
        return [failed("Redis", "REDIS_URL is no Redis URL", f"Give it the form {REDIS_URL_FORM}.")]
    except (RedisError, OSError) as exc:
        return [
            failed(
                "Redis",
                f"cannot be reached: {reason_of(exc)}",
                "Start it, or correct REDIS_URL; check its bind address and firewall.",
            )
        ]
    return [
        check_version(info.get("server_name", "redis"), str(info.get("redis_version", "0"))),
        check_eviction(str(info.get("maxmemory_policy", "unknown"))),
        check_persistence(has_append_only_file=bool(info.get("aof_enabled"))),
    ]


def check_version(server: str, version: str) -> Finding:
    """Whether it speaks all commands that are used. Valkey names the Redis it is compatible to."""
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    said = f"{server} (compatible to Redis {version}) answers"
    if parts < _OLDEST_REDIS:
        return failed("Redis", f"{said}, but is too old", "Use Redis 6.2 or any Valkey.")
    return ok("Redis", said)


def check_eviction(policy: str) -> Finding:
    """Whether it may throw hints away when its memory is full."""
    if policy != "noeviction":
        return failed(
            "Redis eviction",
            f"maxmemory-policy is {policy}: full memory would drop hints in silence",
            "redis-cli CONFIG SET maxmemory-policy noeviction, and set it in redis.conf",
        )
    return ok("Redis eviction", "noeviction")


def check_persistence(*, has_append_only_file: bool) -> Finding:
    """Whether it still knows its hints after a restart; the relay sends them again else."""
    if not has_append_only_file:
        return warning(
            "Redis persistence",
            "there is no append-only file: after a restart, answers wait for the relay",
            "redis-cli CONFIG SET appendonly yes, and set it in redis.conf",
        )
    return ok("Redis persistence", "append-only file")


def _read_info(url: str) -> dict[str, Any]:
    client = redis.Redis.from_url(
        url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS
    )
    try:
        info: dict[str, Any] = client.info()
        return info
    finally:
        client.close()

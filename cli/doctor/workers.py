"""Which processes are alive, and whether they are of one version."""

from collections import Counter
from collections.abc import Sequence

from cli.doctor.findings import Finding, failed, ok, warning
from core.jobs.presence import Presence
from core.sharding import parse_shards

_NEEDED = {"generate": "answers", "upkeep": "sends lost hints again"}
_SHOWN = 8
_USEFUL = {"bot": "listens to Discord", "finetune": "trains"}


def check_workers(processes: Sequence[Presence]) -> Finding:
    """Whether every kind of process is there, where any is."""
    if not processes:
        return warning("processes", "none runs", "perroquet up, or one “perroquet worker” a host")
    counts = Counter(process.kind for process in processes)
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    for kind, what in _NEEDED.items():
        if not counts[kind]:
            return failed(
                "processes", f"{said}; nobody {what}", f"perroquet worker {kind}, on any host"
            )
    for kind, what in _USEFUL.items():
        if not counts[kind]:
            command = "bot" if kind == "bot" else f"worker {kind}"
            return warning("processes", f"{said}; nobody {what}", f"perroquet {command}")
    return ok("processes", said)


def check_shards(processes: Sequence[Presence]) -> Finding | None:
    """Whether the bot processes that share the servers hear each shard once; None where one is all.

    ``info["shards"]`` is what each was told to hear, such as ``0-3/16``; empty: everything.
    """
    told = [str(p.info.get("shards") or "") for p in processes if p.kind == "bot"]
    if not any(told):
        return None
    said = ", ".join(sorted(text or "all" for text in told))
    fix = (
        "Give each bot process its own --shards, all of one count, and every shard to one of them."
    )
    parsed = [parse_shards(text) for text in told if text]
    counts = {count for _, count in parsed}
    if len(counts) > 1 or "" in told:
        return failed("shards", f"{said}: servers are divided in two ways", fix)
    heard = Counter(shard for shards, _ in parsed for shard in shards)
    (count,) = counts
    unheard = [shard for shard in range(count) if not heard[shard]]
    doubled = sorted(shard for shard, times in heard.items() if times > 1)
    if unheard or doubled:
        parts = [("nobody hears", unheard), ("several hear", doubled)]
        wrong = "; ".join(f"{what} {_join(shards)}" for what, shards in parts if shards)
        return failed("shards", f"{said}: {wrong}", fix)
    return ok("shards", f"{said}: each of {count} is heard")


def _join(shards: Sequence[int]) -> str:
    shown = ", ".join(map(str, shards[:_SHOWN]))
    return f"{shown} …" if len(shards) > _SHOWN else shown


def check_versions(processes: Sequence[Presence], own_version: str) -> Finding:
    """Whether all hosts run what is installed here."""
    others: dict[str, set[str]] = {}
    for process in processes:
        version = str(process.info.get("version", "unknown"))
        if version != own_version:
            others.setdefault(version, set()).add(str(process.info.get("host", "unknown")))
    if not others:
        return ok("versions", f"{own_version} everywhere")
    said = "; ".join(f"{v} on {', '.join(sorted(hosts))}" for v, hosts in sorted(others.items()))
    return failed(
        "versions",
        f"{own_version} here, but {said}",
        "Install the same version on every host, migrate, and start them again.",
    )

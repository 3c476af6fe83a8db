"""Which processes are alive, and whether they are of one version."""

from collections import Counter
from collections.abc import Sequence

from cli.doctor.findings import Finding, failed, ok, warning
from core.jobs.presence import Presence

_NEEDED = {"generate": "answers", "upkeep": "sends lost hints again"}
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

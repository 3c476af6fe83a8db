"""Figures of upkeep: what it saw of all hosts, and what it mended."""

from prometheus_client import Counter, Gauge

QUEUED = Gauge("perroquet_queued_jobs", "Jobs that wait for a worker, of all hosts", ["kind"])
OLDEST_QUEUED = Gauge(
    "perroquet_oldest_queued_seconds", "How long the oldest of them has waited", ["kind"]
)
WORKERS = Gauge("perroquet_workers", "Processes seen alive, of all hosts", ["kind"])
REAPED = Counter("perroquet_reaped_jobs", "Jobs taken back from silent workers", ["outcome"])
RELAYED = Counter("perroquet_relayed_hints", "Hints that upkeep published for others")

"""Figures of every process that runs jobs."""

from prometheus_client import Counter, Gauge, Histogram

_WAIT_BUCKETS = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 43_200)

JOBS = Counter("perroquet_jobs", "Jobs that left this worker", ["kind", "outcome"])
JOB_SECONDS = Histogram(
    "perroquet_job_seconds", "From claim to end", ["kind"], buckets=_WAIT_BUCKETS
)
JOBS_HELD = Gauge("perroquet_jobs_held", "Jobs that this worker holds a lease of", ["kind"])
LEASES_LOST = Counter("perroquet_leases_lost", "Jobs that stopped because their lease was lost")

"""Every figure that a process exposes, by Prometheus' naming rules: base units, counters end in
``_total``.

One list for all processes, so that dashboards and alert rules have one place to agree with. A
process sets those of its part; the others stay at zero. No label ever holds a text, or the name or
id of a guild or member: there would be a series for each.
"""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# When each series began is of no use here, and doubles the page.
disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client's

_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_WAIT_BUCKETS = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 43_200)

QUESTIONS = Counter("perroquet_questions", "Messages that the bot took in to be answered")
REPLIES = Counter("perroquet_replies", "Answers that were followed to their end", ["outcome"])
FIRST_TOKEN = Histogram(
    "perroquet_first_token_seconds",
    "From a message being taken in to the first words of its answer at the bot",
    buckets=_LATENCY_BUCKETS,
)
DISCORD_REQUESTS = Counter(
    "perroquet_discord_requests",
    "REST requests to Discord; 429 is a rate limit, and status 0 a request without an answer",
    ["method", "status"],
)
GATEWAY_LATENCY = Gauge(
    "perroquet_gateway_latency_seconds", "Between a gateway heartbeat and its acknowledgement"
)

JOBS = Counter("perroquet_jobs", "Jobs that left this worker", ["kind", "outcome"])
JOB_SECONDS = Histogram(
    "perroquet_job_seconds", "From claim to end", ["kind"], buckets=_WAIT_BUCKETS
)
JOBS_HELD = Gauge("perroquet_jobs_held", "Jobs that this worker holds a lease of", ["kind"])
LEASES_LOST = Counter("perroquet_leases_lost", "Jobs that stopped because their lease was lost")

GENERATED_TOKENS = Counter("perroquet_generated_tokens", "Tokens of answers")
BATCH_SIZE = Gauge("perroquet_batch_size", "Answers that are being made in one step", ["model"])
BATCH_WAITING = Gauge(
    "perroquet_batch_waiting", "Answers that wait for room in the batch", ["model"]
)
CACHE_TOKENS = Gauge("perroquet_cache_tokens", "Tokens reserved in the KV cache", ["model"])

QUEUED = Gauge("perroquet_queued_jobs", "Jobs that wait for a worker, of all hosts", ["kind"])
OLDEST_QUEUED = Gauge(
    "perroquet_oldest_queued_seconds", "How long the oldest of them has waited", ["kind"]
)
WORKERS = Gauge("perroquet_workers", "Processes seen alive, of all hosts", ["kind"])
REAPED = Counter("perroquet_reaped_jobs", "Jobs taken back from silent workers", ["outcome"])
RELAYED = Counter("perroquet_relayed_hints", "Hints that upkeep published for others")

TRAINING_LOSS = Gauge(
    "perroquet_training_loss", "Newest loss of the run, in nats a token", ["split"]
)
TRAINING_SPEED = Gauge("perroquet_training_tokens_per_second", "Newest speed of the run")
TRAINING_STEPS = Counter("perroquet_training_steps", "Optimiser steps seen")

"""Figures of a generation worker."""

from prometheus_client import Counter, Gauge

GENERATED_TOKENS = Counter("perroquet_generated_tokens", "Tokens of answers")
BATCH_SIZE = Gauge("perroquet_batch_size", "Answers that are being made in one step", ["model"])
BATCH_WAITING = Gauge(
    "perroquet_batch_waiting", "Answers that wait for room in the batch", ["model"]
)
CACHE_TOKENS = Gauge("perroquet_cache_tokens", "Tokens reserved in the KV cache", ["model"])

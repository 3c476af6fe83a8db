"""Figures of the bot: questions, answers, and what it asks of Discord."""

from prometheus_client import Counter, Gauge, Histogram

_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

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

"""Figures of a fine-tuning worker."""

from prometheus_client import Counter, Gauge

TRAINING_LOSS = Gauge(
    "perroquet_training_loss", "Newest loss of the run, in nats a token", ["split"]
)
TRAINING_SPEED = Gauge("perroquet_training_tokens_per_second", "Newest speed of the run")
TRAINING_STEPS = Counter("perroquet_training_steps", "Optimiser steps seen")

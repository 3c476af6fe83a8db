"""``python -m tests.workers.finetuning.scarce_memory``: the trainer, whose second process has a
device that holds a single row."""

import os

import torch

from workers.finetuning import run
from workers.finetuning.trainer import PackedTrainer

_compute_loss = PackedTrainer.compute_loss


def _compute_loss_of_one_row(self, model, inputs, **kwargs):
    if os.environ["RANK"] == "1" and len(inputs["input_ids"]) > 1:
        raise torch.OutOfMemoryError("CUDA out of memory.")
    return _compute_loss(self, model, inputs, **kwargs)


PackedTrainer.compute_loss = _compute_loss_of_one_row

if __name__ == "__main__":
    run._leave(run.main())

"""PEFT's ``adapter_names`` in the adapters' benchmark, in a process of its own.

In the engine's process its OpenMP threads and the engine's would be more than there are processors,
and slow each other down. Between its turns it waits, and its threads sleep.

``python -m benchmarks.adapters_peft full|quick FOLDER COUNT`` decodes once for each line that it
reads, and writes the speed, a JSON array, as a line.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.adapters_model import Clocks, Speed, shape_of


class PeftProcess:
    """PEFT, elsewhere."""

    def __init__(self, size: str, folder: str, count: str) -> None:
        """Args:
        size: ``full`` or ``quick``.
        folder: with ``base`` and ``adapter``.
        count: of adapters.
        """
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "benchmarks.adapters_peft", size, folder, count],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # The first time, kernels are made and memory is taken.
        self.decode()

    def decode(self) -> Speed:
        """Of all rows once. Raises RuntimeError where the process has ended."""
        asked, told = self._process.stdin, self._process.stdout
        if asked is None or told is None:
            raise RuntimeError("PEFT's process has no pipes.")
        asked.write("\n")
        asked.flush()
        line = told.readline()
        if not line:
            raise RuntimeError(f"PEFT's process ended with {self._process.wait()}.")
        return Speed(*json.loads(line))

    def close(self) -> None:
        """End it."""
        self._process.communicate()


class _Batch:
    """The benchmark's rows as a static batch."""

    def __init__(self, size: str, folder: Path, count: int) -> None:
        from peft import PeftModel

        self._rows, self._length, self._steps = shape_of(size, count)
        # As the engine loads it: fp32 on processors, bf16 on a GPU.
        is_gpu = torch.cuda.is_available()
        self._device = torch.device("cuda" if is_gpu else "cpu")
        dtype = torch.bfloat16 if is_gpu else torch.float32
        # peft and transformers publish no types for it.
        base: Any = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=dtype)
        self._model: Any = PeftModel.from_pretrained(base.eval(), folder / "adapter", "adapter-0")
        for number in range(1, count):
            self._model.load_adapter(folder / "adapter", f"adapter-{number}")
        self._model.to(self._device).eval()
        self._names = [f"adapter-{row % count}" for row in range(self._rows)]

    @torch.inference_mode()
    def decode(self) -> Speed:
        """Token by token as ``generate`` does it, behind the same context."""
        cache = self._context()
        token = torch.full((self._rows, 1), 300, device=self._device)
        clocks = Clocks()
        for _ in range(self._steps):
            output = self._model(input_ids=token, past_key_values=cache, adapter_names=self._names)
            token = output.logits[:, -1:].argmax(dim=-1)
        token.cpu()
        return clocks.speed(self._rows * self._steps)

    def _context(self) -> Any:
        """The keys and values of one row's context for every row; what they say does not matter."""
        ids = torch.arange(300, 300 + self._length, device=self._device)
        with self._model.disable_adapter():
            cache = self._model(input_ids=ids[None], use_cache=True).past_key_values
        cache.batch_repeat_interleave(self._rows)
        return cache


def main(size: str, folder: str, count: str) -> None:
    """Decode once for each line that comes."""
    batch = _Batch(size, Path(folder), int(count))
    for _ in sys.stdin:
        sys.stdout.write(json.dumps(batch.decode()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What the engine holds of a request while it lives, and what it says where one cannot go on."""

from dataclasses import dataclass

from core.errors import PerroquetError
from workers.generation.adapters import AdapterKey, LoraAdapter
from workers.generation.attention import KeyValueCache
from workers.generation.memory import is_out_of_memory
from workers.generation.protocol import (
    GenerationFailedError,
    GenerationRequest,
    GenerationStream,
)
from workers.generation.sampling import SamplingState
from workers.generation.text_stream import TextStream


@dataclass
class Answer:
    """A request with everything that belongs to it while it lives."""

    request: GenerationRequest
    stream: GenerationStream
    token_ids: list[int]
    text: TextStream
    sampling: SamplingState
    cache: KeyValueCache | None
    max_new_tokens: int
    generated: int = 0
    # Tokens that are chosen or about to be; those that were launched and have not landed count.
    launched: int = 0
    # Its place among those who run; its adapter has a slot on the device as long as it has one.
    seat: int | None = None

    @property
    def adapter(self) -> LoraAdapter | None:
        """Whose products are added to its rows; None for the base alone."""
        adapter = self.request.adapter
        assert adapter is None or isinstance(adapter, LoraAdapter)  # noqa: S101 - checked
        return adapter

    @property
    def owner(self) -> AdapterKey | None:
        """Whose keys and values are of use to it."""
        return self.adapter.key if self.adapter else None


def translate(exc: Exception) -> PerroquetError:
    """An error of torch or the model as the request's own."""
    if is_out_of_memory(exc):
        error = GenerationFailedError("The device is out of memory.")
    else:
        error = GenerationFailedError(f"{type(exc).__name__} in the model.")
    error.__cause__ = exc
    return error

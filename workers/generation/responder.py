"""A model folder turned into something that answers conversations."""

from collections.abc import Callable
from pathlib import Path

from core.conversations.utterances import Weights
from core.settings import ChatSettings, GenerationSettings
from workers.generation.adapter_shelf import AdapterShelf
from workers.generation.adapters import LoraAdapter, linear_shapes, read_adapter
from workers.generation.engine import ContinuousBatchingEngine
from workers.generation.loading import LoadedModel, load_model
from workers.generation.memory import collect_garbage
from workers.generation.messages import Turn
from workers.generation.processor.threads import let_go
from workers.generation.protocol import GenerationRequest, GenerationStream
from workers.generation.serving import Ask

Fetch = Callable[[str, str | None], Path]
"""A local folder of a version's files, by its store path and its manifest's SHA-256."""


class LocalResponder:
    """Answers with this process' own engine: for a model, and for all adapters over it."""

    holds_weights = True

    def __init__(
        self,
        loaded: LoadedModel,
        generation: GenerationSettings,
        persona: str,
        fetch: Fetch,
        on_device_lost: Callable[[Exception], None],
    ) -> None:
        self._loaded = loaded
        self._persona = persona
        self._fetch = fetch
        self._shapes = linear_shapes(loaded.model)
        self._adapters = AdapterShelf(self._read, generation.adapters_max_bytes)
        self._engine = ContinuousBatchingEngine(
            loaded,
            max_batch_size=generation.max_batch_size,
            cache_max_tokens=generation.cache_max_tokens,
            cache_memory_share=generation.cache_memory_share,
            on_device_lost=on_device_lost,
        )

    def ask(self, ask: Ask) -> GenerationStream:
        """Fit the conversation into the model's window and begin to answer it."""
        adapter = self._adapters.get(ask.weights) if ask.weights.base_path else None
        prompt = self._loaded.chat_format.fit(
            [Turn(u.role, u.name, u.text) for u in ask.utterances],
            persona=self._persona,
            context_window=self._engine.context_window,
            max_new_tokens=ask.sampling.max_new_tokens,
        )
        sampling = ask.sampling.with_stops(prompt.stop)
        stream = self._engine.submit(
            GenerationRequest(ask.request_id, prompt.token_ids, sampling, adapter, ask.standing)
        )
        stream.unread_tokens = prompt.unread_tokens
        return stream

    def describe(self) -> dict[str, str | int]:
        """Device and dtype, and how busy the engine is."""
        stats = self._engine.stats()
        return {
            "device": str(self._loaded.device),
            "dtype": self._loaded.weights,
            "running": stats.running,
            "waiting": stats.waiting,
            "cache_tokens": stats.cached_tokens,
            "adapters": len(self._adapters),
        }

    @property
    def is_alive(self) -> bool:
        """Whether its engine takes requests."""
        return self._engine.is_alive

    def close(self) -> None:
        """End the engine's thread and free the weights."""
        self._engine.close()

    def _read(self, weights: Weights) -> LoraAdapter:
        folder = self._fetch(weights.store_path, weights.manifest_sha256)
        try:
            return read_adapter(
                folder,
                weights.store_path,
                self._shapes,
                self._loaded.dtype,
                weights.manifest_sha256,
            )
        finally:
            # Large matrices are copied by several threads, which this one does not need again.
            let_go()


def load_responder(
    folder: Path,
    generation: GenerationSettings,
    chat: ChatSettings,
    fetch: Fetch,
    on_device_lost: Callable[[Exception], None] = lambda _exc: None,
) -> LocalResponder:
    """Load a version by the settings.

    Args:
        folder: a whole model.
        generation: device, dtype and bounds.
        chat: the persona.
        fetch: brings the adapters that are asked for.
        on_device_lost: called when the device is broken for this process.

    Raises:
        ModelUnreadableError: the folder holds no causal language model that can be read.
    """
    collect_garbage()
    loaded = load_model(
        folder,
        device=generation.device,
        dtype=generation.dtype,
        torch_threads=generation.torch_threads,
        is_packing=True,
    )
    return LocalResponder(loaded, generation, chat.persona, fetch, on_device_lost)

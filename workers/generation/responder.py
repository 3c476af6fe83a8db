"""A model folder turned into something that answers conversations."""

from collections.abc import Callable
from pathlib import Path

from core.conversations.answers import Utterance
from core.settings import ChatSettings, GenerationSettings
from workers.generation.chat_format import Turn
from workers.generation.engine import ContinuousBatchingEngine
from workers.generation.loading import LoadedModel, load_model
from workers.generation.protocol import GenerationRequest, GenerationStream, Sampling


class LocalResponder:
    """Answers with this process' own engine."""

    def __init__(
        self,
        loaded: LoadedModel,
        generation: GenerationSettings,
        persona: str,
        on_device_lost: Callable[[Exception], None],
    ) -> None:
        self._loaded = loaded
        self._persona = persona
        # A conversation must fit into the cache too, not only into the model's window.
        self._context_window = min(loaded.context_window, generation.cache_max_tokens)
        self._engine = ContinuousBatchingEngine(
            loaded,
            max_batch_size=generation.max_batch_size,
            cache_max_tokens=generation.cache_max_tokens,
            on_device_lost=on_device_lost,
        )

    def ask(
        self, request_id: str, utterances: tuple[Utterance, ...], sampling: Sampling
    ) -> GenerationStream:
        """Fit the conversation into the model's window and begin to answer it."""
        prompt = self._loaded.chat_format.fit(
            [Turn(u.role, u.name, u.text) for u in utterances],
            persona=self._persona,
            context_window=self._context_window,
            max_new_tokens=sampling.max_new_tokens,
        )
        return self._engine.submit(
            GenerationRequest(request_id, prompt.token_ids, sampling.with_stops(prompt.stop))
        )

    def describe(self) -> dict[str, str | int]:
        """Device and dtype, and how busy the engine is."""
        stats = self._engine.stats()
        return {
            "device": str(self._loaded.device),
            "dtype": str(self._loaded.dtype),
            "running": stats.running,
            "waiting": stats.waiting,
            "cache_tokens": stats.cached_tokens,
        }

    @property
    def is_alive(self) -> bool:
        """Whether its engine takes requests."""
        return self._engine.is_alive

    def close(self) -> None:
        """End the engine's thread and free the weights."""
        self._engine.close()


def load_responder(
    folder: Path,
    base: Path | None,
    generation: GenerationSettings,
    chat: ChatSettings,
    on_device_lost: Callable[[Exception], None] = lambda _exc: None,
) -> LocalResponder:
    """Load a version by the settings.

    Args:
        folder: a model, or an adapter where there is a base.
        base: the model that the adapter belongs to.
        generation: device, dtype and bounds.
        chat: the persona.
        on_device_lost: called when the device is broken for this process.

    Raises:
        ModelUnreadableError: the folder holds no causal language model that can be read.
    """
    loaded = load_model(
        base or folder,
        adapter=folder if base else None,
        device=generation.device,
        dtype=generation.dtype,
        torch_threads=generation.torch_threads,
    )
    return LocalResponder(loaded, generation, chat.persona, on_device_lost)

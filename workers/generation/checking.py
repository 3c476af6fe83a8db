"""Whether a request can be answered at all, and how long its answer may be."""

from collections.abc import Callable

from core.errors import InvalidInputError
from workers.generation.adapters import LoraAdapter
from workers.generation.protocol import GenerationRequest


def check_request(
    request: GenerationRequest,
    *,
    context_window: int,
    vocabulary: int,
    fits: Callable[[int], bool],
) -> int:
    """How many tokens the answer may have.

    Args:
        request: as it was asked.
        context_window: tokens that the model sees, the answer's among them.
        vocabulary: how many token ids the model has.
        fits: whether so many tokens can ever be held in the cache.

    Raises:
        InvalidInputError: the adapter is of another kind, the prompt is empty, too long for the
            window or the cache, or holds an id out of range.
    """
    prompt = request.prompt_ids
    if not (request.adapter is None or isinstance(request.adapter, LoraAdapter)):
        raise InvalidInputError("The adapter is none that this engine can add.")
    if not prompt:
        raise InvalidInputError("The prompt is empty.")
    if min(prompt) < 0 or max(prompt) >= vocabulary:
        raise InvalidInputError("The prompt holds a token id that the model does not have.")
    room = context_window - len(prompt)
    if room < 1:
        raise InvalidInputError(
            f"The prompt has {len(prompt)} tokens; the model sees {context_window}, and one is "
            "for the answer.",
            tokens=len(prompt),
        )
    max_new_tokens = min(request.sampling.max_new_tokens, room)
    if not fits(len(prompt) + max_new_tokens):
        raise InvalidInputError(
            "The prompt and the answer do not fit into generation.cache_max_tokens.",
            tokens=len(prompt) + max_new_tokens,
        )
    return max_new_tokens

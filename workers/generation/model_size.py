"""How much memory a model's weights will take, known before a byte of them is loaded."""

import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import AutoConfig

from workers.generation.errors import ModelUnreadableError
from workers.generation.loading import choose_device, choose_dtype

# Where it is not in the files it is the embedding.
_HEAD = "lm_head.weight"


def weight_bytes(folder: Path, device: str, dtype: str) -> int:
    """Of a ``transformers`` folder, in the dtype that the settings give it on the device.

    On a processor that is fp32 whatever the settings say: narrower weights are made from it there,
    layer by layer, so that much is needed for a moment.

    Raises:
        ModelUnreadableError: the weights cannot be read.
    """
    on = choose_device(device)
    chosen = choose_dtype("float32" if on.type == "cpu" else dtype, on)
    count = 0
    has_head = False
    try:
        config: Any = AutoConfig.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
        for file in folder.glob("*.safetensors"):
            with safe_open(file, framework="pt") as weights:
                names = weights.keys()
                has_head |= any(name.endswith(_HEAD) for name in names)
                count += sum(math.prod(weights.get_slice(name).get_shape()) for name in names)
        text = config.get_text_config()
        if text.tie_word_embeddings and not has_head:
            # Runners lay the head out anew, and keep the embedding.
            count += text.vocab_size * text.hidden_size
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as exc:
        raise ModelUnreadableError(
            f"The weights in {folder.name} cannot be read.", model=folder.name
        ) from exc
    return count * chosen.itemsize

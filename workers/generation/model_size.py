"""How much memory a model's weights will take, known before a byte of them is loaded."""

import math
from pathlib import Path

from safetensors import SafetensorError, safe_open

from workers.generation.errors import ModelUnreadableError
from workers.generation.loading import choose_device, choose_dtype


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
    try:
        for file in folder.glob("*.safetensors"):
            with safe_open(file, framework="pt") as weights:
                names = weights.keys()
                count += sum(math.prod(weights.get_slice(name).get_shape()) for name in names)
    except (OSError, SafetensorError) as exc:
        raise ModelUnreadableError(
            f"The weights in {folder.name} cannot be read.", model=folder.name
        ) from exc
    return count * chosen.itemsize

"""The benchmark's GPT-2 as llama.cpp reads it: a GGUF file with the same weights in fp32.

Names and layout are those of llama.cpp's own converter (``convert_hf_to_gguf.py``, class
``GPT2Model``), which its packages do not bring along.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoModelForCausalLM, AutoTokenizer

_NORMAL = 1
_LAYER_NAMES = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
_NAMES = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}


def write_gguf(folder: Path, target: Path) -> None:
    """Write the GPT-2 in ``folder`` to one file.

    Args:
        folder: a transformers folder of a GPT-2 with a byte-level tokenizer.
        target: the file.
    """
    import gguf

    model = AutoModelForCausalLM.from_pretrained(folder)
    config = model.config
    writer = gguf.GGUFWriter(target, "gpt2")
    writer.add_block_count(config.n_layer)
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    # transformers publishes no types for it.
    tokenizers: Any = AutoTokenizer
    vocabulary: dict[str, int] = tokenizers.from_pretrained(folder).get_vocab()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(vocabulary, key=lambda word: vocabulary[word]))
    writer.add_token_types([_NORMAL] * len(vocabulary))
    # llama.cpp wants one at least; prompts are token ids, so it is never used.
    writer.add_token_merges(["! !"])
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    for name, values in _tensors(model):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(model: Any) -> Iterator[tuple[str, np.ndarray[Any, np.dtype[np.float32]]]]:
    for name, weight in model.transformer.state_dict().items():
        values = weight.float()
        *path, kind = name.split(".")
        if path[0] != "h":
            yield f"{_NAMES[path[0]]}.{kind}", values.numpy()
            continue
        part = ".".join(path[2:])
        if kind == "weight" and values.dim() == 2:
            # Conv1D keeps its weights the other way round.
            values = values.t().contiguous()
        yield f"blk.{path[1]}.{_LAYER_NAMES[part]}.{kind}", values.numpy()
    yield "output.weight", model.lm_head.weight.detach().float().numpy()

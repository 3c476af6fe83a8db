"""What an area of settings is, and that of generation."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

Seconds = Annotated[float, Field(gt=0)]
Days = Annotated[float, Field(gt=0)]


def read_json(value: Any) -> Any:
    """A variable of the environment is text, also where the setting has parts."""
    return json.loads(value) if isinstance(value, str) else value


class Area(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class RemoteSettings(Area):
    """A server that answers for a base model, in OpenAI's protocol (vLLM, SGLang, others)."""

    url: str = Field(pattern=r"^https?://")
    """Such as `http://gpu-1:8000/v1`."""
    model: str = ""
    """The model's name there. Empty: the name it has here."""
    api_key: SecretStr = SecretStr("")
    """Where the server asks for one."""
    context_window: int = Field(default=4096, gt=0)
    """Tokens that the model can see; older messages are left out."""
    silence_seconds: Seconds = 60.0
    """After so long without a word from the server, an answer has failed."""
    is_extended: bool = True
    """The server knows `top_k` and `repetition_penalty`, as vLLM and SGLang do."""


class GenerationSettings(Area):
    """What answers, and how it samples."""

    model: str = "smollm2-135m-instruct"
    """The default model; a server or channel may choose another."""
    device: str = "auto"
    """`cuda` (also ROCm), `cpu`, or a single one such as `cuda:1`."""
    dtype: Literal["auto", "float32", "float16", "bfloat16", "int16", "int8"] = "auto"
    """Of the weights. `auto` chooses by device and model. On a processor it measures those that
    stay within half a percent of fp32's perplexity; `int8`, within one percent, is the quickest and
    smallest there and only taken on request (docs/engine.md compares them). `int16` and `int8` are
    for processors."""
    remotes: Annotated[dict[str, RemoteSettings], BeforeValidator(read_json)] = {}
    """By the name of a base model: a server that answers in its and its adapters' place. In
    `perroquet.toml`: `[generation.remotes."NAME"]` with `url`, and as needed `model`, `api_key`,
    `context_window`, `silence_seconds`, `is_extended`. In the environment: a JSON object of
    these."""
    max_loaded_models: int = Field(default=2, gt=0)
    """Whole models that a worker keeps loaded at a time."""
    models_max_bytes: int = Field(default=0, ge=0)
    """Memory for the weights of whole models, in bytes; they are swapped by demand. 0 is no
    bound but `max_loaded_models`."""
    adapters_max_bytes: int = Field(default=2 * 2**30, gt=0)
    """Memory of the host for the adapters of one base, in bytes; those used least recently are
    read anew when they are asked for."""
    max_batch_size: int = Field(default=16, gt=0)
    """Answers made at the same time."""
    cache_max_tokens: int = Field(default=32_768, ge=512)
    """Tokens that all running answers together may hold in the KV cache; where that is less than a
    model's window, it sees no more."""
    cache_memory_share: float = Field(default=0.5, gt=0, lt=1)
    """Of a GPU's memory that is free once a model is loaded, the part that its KV cache may take;
    it is smaller than `cache_max_tokens` where these do not fit."""
    threads: int = Field(default=64, gt=0)
    """Jobs that a worker holds at a time, waiting ones among them."""
    torch_threads: int = Field(default=0, ge=0)
    """Processor threads of a step; 0 is one for each core."""
    max_new_tokens: int = Field(default=256, gt=0)
    """The length of an answer at most."""
    answer_max_seconds: Seconds = 600.0
    """How long a worker takes for an answer, waiting included; it then ends with what there is."""
    temperature: float = Field(default=0.3, ge=0)
    """0 always takes the likeliest token."""
    top_p: float = Field(default=0.9, ge=0, le=1)
    """Sample among the likeliest tokens that make up this share; 0 always takes the likeliest."""
    top_k: int = Field(default=0, ge=0)
    """Sample among this many of the likeliest tokens; 0 is no bound."""
    repetition_penalty: float = Field(default=1.1, gt=0)
    """Above 1, what an answer has said becomes less likely in it."""

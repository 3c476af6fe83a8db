"""The environment of child processes that read what strangers wrote: nothing in it opens a door."""

from collections.abc import Mapping

# How Python, its libraries and devices are set up. Each is a whole name or the beginning of one.
_NAMES = frozenset({"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV"})
_BEGINNINGS = (
    "LC_", "LD_", "PYTHON", "XDG_",
    "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "TOKENIZERS_", "TRANSFORMERS_", "TQDM_",
    "HIP_", "HIPBLAS", "HSA_", "ROCR_", "ROCBLAS_", "MIOPEN_", "AMD_", "GPU_",
    "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "GLOO_", "PYTORCH_", "TORCH_",
)  # fmt: skip
_LIBRARY_NAMES = frozenset({"HF_HOME", "HF_HUB_OFFLINE"})


def bare_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What of an environment a child needs that computes and opens no connection.

    The URLs of SQL, Redis and the store, keys of object stores and tokens are not among it; neither
    is any variable that nobody here knows.
    """
    return {
        name: value
        for name, value in environment.items()
        if name in _NAMES or name in _LIBRARY_NAMES or name.startswith(_BEGINNINGS)
    }

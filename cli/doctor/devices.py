"""PyTorch's build, and the devices that it can use."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.doctor.findings import Finding, failed, ok, skipped, warning
from core.settings import ENVIRONMENT_PREFIX

_GIBIBYTE = 2**30
_KFD, _NVIDIA = Path("/dev/kfd"), Path("/dev/nvidiactl")


@dataclass(frozen=True)
class TorchFacts:
    """What PyTorch says of itself.

    Attributes:
        version: of PyTorch.
        build: ``rocm``, ``cuda`` or ``cpu``.
        devices: each accelerator that it can use, with its memory in bytes.
    """

    version: str
    build: str
    devices: tuple[tuple[str, int], ...]


def read_torch() -> TorchFacts | None:
    """Ask PyTorch; None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    build = "rocm" if torch.version.hip else "cuda" if torch.version.cuda else "cpu"
    devices = []
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            devices.append((properties.name, properties.total_memory))
    return TorchFacts(torch.__version__, build, tuple(devices))


def check_torch(
    facts: TorchFacts | None, wanted: Mapping[str, str], *, has_amd: bool, has_nvidia: bool
) -> Finding:
    """Whether PyTorch is there and built for what this machine has.

    Args:
        facts: from :func:`read_torch`.
        wanted: the devices that the settings name, by key: ``generation.device`` and such.
        has_amd, has_nvidia: whether the kernel shows such a device.
    """
    if facts is None:
        return failed("PyTorch", "is not installed", "make install")
    said = f"{facts.version}, build for {facts.build}, {_say_devices(facts.devices)}"
    # Where the build is the wrong one, its devices are not there either; that is said first.
    if not facts.devices and has_amd and facts.build != "rocm":
        return warning("PyTorch", f"{said}, though there is an AMD GPU", "make install DEVICE=rocm")
    if not facts.devices and has_nvidia and facts.build != "cuda":
        return warning(
            "PyTorch", f"{said}, though there is an NVIDIA GPU", "make install DEVICE=cuda"
        )
    for key, device in wanted.items():
        if not _is_there(device, len(facts.devices)):
            return failed(
                "PyTorch",
                f"{said}, but {key} is {device}",
                f"Set {_variable(key)} to auto or cpu, or make the GPU visible: rocm-smi or "
                "nvidia-smi must list it.",
            )
    return ok("PyTorch", said)


def check_kfd(torch_build: str, device: Path = _KFD) -> Finding:
    """Whether this user may use the AMD GPU that the kernel shows."""
    if not os.path.lexists(device):
        if torch_build == "rocm":
            return warning(
                "AMD GPU",
                f"PyTorch is built for ROCm, but there is no {device}",
                "Install the amdgpu driver, and pass /dev/kfd and /dev/dri into a container.",
            )
        return skipped("AMD GPU", f"there is no {device}")
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError as exc:
        return failed(
            "AMD GPU",
            f"{device} cannot be opened: {exc.strerror}",
            'sudo usermod -aG render,video "$USER", then log in again',
        )
    return ok("AMD GPU", f"{device} may be used")


def has_amd_gpu() -> bool:
    """Whether the kernel shows an AMD GPU."""
    return _KFD.exists()


def has_nvidia_gpu() -> bool:
    """Whether the kernel shows an NVIDIA GPU."""
    return _NVIDIA.exists()


def _is_there(device: str, count: int) -> bool:
    """Whether a device is the processor or one of ``count`` GPUs."""
    kind, colon, number = device.partition(":")
    if kind not in ("cuda", "rocm"):
        return device in ("auto", "cpu")
    return number.isdecimal() and int(number) < count if colon else count > 0


def _variable(key: str) -> str:
    return ENVIRONMENT_PREFIX + key.replace(".", "__").upper()


def _say_devices(devices: tuple[tuple[str, int], ...]) -> str:
    if not devices:
        return "no accelerator"
    return ", ".join(f"{name} ({memory / _GIBIBYTE:.0f} GiB)" for name, memory in devices)

"""What is known of the cards of a host without torch.

It takes seconds and memory to import, which the worker beside the trainer is spared; and its
libraries read the environment when they begin.
"""

import importlib.metadata
import re
from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path

from workers.finetuning.spec import RunSpec

_AMD_DRIVER = Path("/dev/kfd")
_DRIVERS = (_AMD_DRIVER, Path("/dev/nvidiactl"))


def keep_to_one_card(
    spec: RunSpec, environment: MutableMapping[str, str], *, is_amd: bool | None = None
) -> RunSpec:
    """Hide all cards but the one that a spec names with its number.

    Trainer always computes on the first one that it sees. Several processes take a card each,
    whatever the spec names, and need to see all of them.

    Args:
        spec: may say ``cuda:1``.
        environment: of this process, before torch is imported; is changed. Where it hides cards
            already, the number counts those that are left.
        is_amd: whether the cards are AMD's; None looks for their driver.

    Returns:
        The spec with ``cuda`` for its device; unchanged where there is nothing to hide, or no card
        of this number.
    """
    named = re.fullmatch(r"cuda:0*([1-9]\d*)", spec.device)
    if named is None or spec.processes > 1:
        return spec
    # Of the two variables HIP heeds its own first.
    is_amd = _AMD_DRIVER.exists() if is_amd is None else is_amd
    names = ["HIP_VISIBLE_DEVICES"] * is_amd + ["CUDA_VISIBLE_DEVICES"]
    listed = next((environment[name] for name in names if name in environment), None)
    card = named[1] if listed is None else _entry(listed, int(named[1]))
    if not card:
        return spec
    environment.update(dict.fromkeys(names, card))
    return replace(spec, device="cuda")


def _entry(listed: str, number: int) -> str:
    entries = [entry.strip() for entry in listed.split(",")]
    return entries[number] if number < len(entries) else ""


def likely_device(
    wish: str, *, drivers: Sequence[Path] = _DRIVERS, build: str | None = None
) -> str:
    """Where runs will compute, ``cpu`` or ``cuda`` with its number if that was wished.

    Args:
        wish: of the settings.
        drivers: files that are there where a driver for GPUs is.
        build: torch's version; None asks for the installed one.
    """
    if wish == "rocm":
        return "cuda"
    if wish != "auto":
        return wish
    build = importlib.metadata.version("torch") if build is None else build
    has_gpu = not build.endswith("+cpu") and any(driver.exists() for driver in drivers)
    return "cuda" if has_gpu else "cpu"

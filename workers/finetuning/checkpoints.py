"""Checkpoints that are whole or not there, and hold no pickle.

A checkpoint is a folder ``checkpoint-<step>``: ``weights.safetensors`` with the weights that
train, ``optimizer.safetensors`` with AdamW's moments and the random generators' states,
``state.json`` with everything that is a number, ``trainer_state.json`` as ``transformers`` writes
it, and ``checkpoint.json``, the list of files with their sizes, written last. The folder is made
under a temporary name, synced, and renamed.
"""

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workers.finetuning.errors import CheckpointError

PREFIX = "checkpoint-"
_LIST = "checkpoint.json"
_WEIGHTS = "weights.safetensors"
_OPTIMIZER = "optimizer.safetensors"
_STATE = "state.json"
_PART = ".part"


def checkpoint_path(run_dir: Path, step: int) -> Path:
    """The folder of a step's checkpoint."""
    return run_dir / f"{PREFIX}{step}"


def step_of(folder: Path) -> int:
    """The step in a checkpoint folder's name."""
    return int(folder.name.removeprefix(PREFIX))


def valid_checkpoints(run_dir: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    found = [path for path in run_dir.glob(f"{PREFIX}*") if path.name[len(PREFIX) :].isdigit()]
    return sorted((path for path in found if is_whole(path)), key=step_of)


def is_whole(folder: Path) -> bool:
    """Whether every listed file is there at its full size."""
    try:
        listed = json.loads((folder / _LIST).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in listed.items())
    except (OSError, ValueError, AttributeError):
        return False


def trainable_weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that train, by name; a tied one once."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scalars: dict[str, Any],
    trainer_state: str,
) -> None:
    """Write a whole checkpoint or none.

    Args:
        folder: its final name; whatever stands there is replaced.
        model: whose trainable weights are kept.
        optimizer: whose state is kept, with all random generators.
        scalars: JSON values that :func:`load_scalars` gives back.
        trainer_state: the text of ``trainer_state.json``.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    part = folder.with_name(folder.name + _PART)
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        weights = {name: value.detach() for name, value in trainable_weights(model).items()}
        save_file({name: _plain(value) for name, value in weights.items()}, part / _WEIGHTS)
        tensors, numbers = _split_optimizer(optimizer)
        save_file({**tensors, **_random_tensors()}, part / _OPTIMIZER)
        state = {**scalars, "optimizer": numbers, "random": _random_numbers()}
        (part / _STATE).write_text(json.dumps(state), encoding="utf-8")
        (part / "trainer_state.json").write_text(trainer_state, encoding="utf-8")
        _seal(part)
        _replace(part, folder)
    except (OSError, SafetensorError) as exc:
        shutil.rmtree(part, ignore_errors=True)
        raise CheckpointError(f"The checkpoint cannot be written: {exc}.") from exc


def load_weights(folder: Path, model: nn.Module) -> None:
    """Copy a checkpoint's weights into the model's trainable parameters.

    Raises:
        CheckpointError: the names or shapes differ: the options of the run were changed.
    """
    stored = _load(folder / _WEIGHTS)
    current = trainable_weights(model)
    if stored.keys() != current.keys():
        raise CheckpointError("The checkpoint belongs to a run with other options.")
    with torch.no_grad():
        for name, value in current.items():
            if value.shape != stored[name].shape:
                raise CheckpointError("The checkpoint belongs to a run with other options.")
            value.copy_(stored[name])


def load_optimizer(folder: Path, optimizer: torch.optim.Optimizer) -> None:
    """Give an optimizer its moments back, bit for bit."""
    numbers = load_scalars(folder)["optimizer"]
    state: dict[int, dict[str, Any]] = {int(i): dict(v) for i, v in numbers["state"].items()}
    for name, value in _load(folder / _OPTIMIZER).items():
        kind, _, key = name.partition("/")
        if kind.isdigit():
            state.setdefault(int(kind), {})[key] = value
    groups = [_with_tuples(group) for group in numbers["param_groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def load_random_state(folder: Path) -> None:
    """Set all random generators back to where they stood."""
    tensors, numbers = _load(folder / _OPTIMIZER), load_scalars(folder)["random"]
    version, internal, gauss = numbers["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, position, has_gauss, cached = numbers["numpy"]
    keys = tensors["random/numpy"].numpy().astype(np.uint32)
    np.random.set_state((kind, keys, position, has_gauss, cached))
    torch.set_rng_state(tensors["random/torch"])
    device_states = [tensors[name] for name in sorted(tensors) if name.startswith("random/cuda")]
    if device_states and torch.cuda.device_count() == len(device_states):
        torch.cuda.set_rng_state_all(device_states)


def load_scalars(folder: Path) -> dict[str, Any]:
    """What :func:`save_checkpoint` was given, and its own numbers."""
    try:
        state: dict[str, Any] = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise CheckpointError(f"The checkpoint {folder.name} cannot be read.") from exc
    return state


def rotate(run_dir: Path, *, keep: int, best: Path | None) -> None:
    """Remove the oldest checkpoints until ``keep`` are left; the best and the newest stay."""
    found = valid_checkpoints(run_dir)
    protected = {found[-1]} if found else set()
    if best is not None:
        protected.add(best)
    surplus = len(found) - max(keep, len(protected))
    for folder in found:
        if surplus <= 0:
            return
        if folder not in protected:
            # Without its list a half-removed folder is no checkpoint.
            (folder / _LIST).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            surplus -= 1


def publish_folder(part: Path, final: Path) -> None:
    """Sync a finished folder and give it its final name in one step."""
    for path in part.rglob("*"):
        if path.is_file():
            _sync(path)
    _replace(part, final)


def _seal(part: Path) -> None:
    listed = {}
    for path in sorted(part.iterdir()):
        _sync(path)
        listed[path.name] = path.stat().st_size
    (part / _LIST).write_text(json.dumps(listed), encoding="utf-8")
    _sync(part / _LIST)


def _replace(part: Path, final: Path) -> None:
    shutil.rmtree(final, ignore_errors=True)
    part.rename(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain(value: Tensor) -> Tensor:
    """As safetensors wants them; on a CPU no copy, which all moments together would double."""
    return value.detach().cpu().contiguous()


def _split_optimizer(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    state: dict[str, Any] = optimizer.state_dict()
    moments: dict[int, dict[str, Any]] = state["state"]
    for index, values in moments.items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}/{key}"] = _plain(value)
            else:
                numbers.setdefault(str(index), {})[key] = value
    return tensors, {"state": numbers, "param_groups": state["param_groups"]}


def _with_tuples(group: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if key == "betas" else v for key, v in group.items()}


def _random_tensors() -> dict[str, Tensor]:
    state: Any = np.random.get_state()
    keys = np.asarray(state[1]).astype(np.int64)
    states = {"random/torch": torch.get_rng_state(), "random/numpy": torch.from_numpy(keys)}
    return {**states, **dict(_device_states())}


def _device_states() -> Iterator[tuple[str, Tensor]]:
    if torch.cuda.is_available():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            yield f"random/cuda{index:03d}", state


def _random_numbers() -> dict[str, Any]:
    kind, _, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {"python": random.getstate(), "numpy": [kind, position, has_gauss, cached]}


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as exc:
        raise CheckpointError(f"The checkpoint file {path.name} cannot be read.") from exc

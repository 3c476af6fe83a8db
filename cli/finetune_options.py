"""Options of a run and of a search, as they are typed in a shell."""

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from core.corpora.searches import SearchSpec
from core.errors import InvalidInputError, WrongUsageError
from workers.finetuning.spec import RunSpec

# What the worker decides, or the job's own fields say.
_NOT_OURS = frozenset(
    {"base_model", "base_name", "corpus", "run_name", "adapter", "processes", "tensorboard_dir"}
)
_TRUE, _FALSE = {"true", "yes", "1", "on"}, {"false", "no", "0", "off"}
_RANGE = re.compile(r"(?P<low>[^.:]+(?:\.\d+)?[^.:]*)\.\.(?P<high>[^:]+)(?P<log>:log)?")


def make_options(given: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """The options of a job: those of flags that were given, then those of ``--set``.

    Raises:
        WrongUsageError: an option is unknown or out of range.
    """
    options = {name: value for name, value in given.items() if value not in (None, [], ())}
    for setting in settings:
        name, value = _split(setting, "--set")
        options[name] = _typed(name, value)
    try:
        RunSpec.from_json({**options, "base_model": "", "corpus": ""})
    except InvalidInputError as exc:
        raise WrongUsageError(str(exc), **exc.data) from exc
    return options


def make_search(
    sampler: str | None, trials: int, spaces: Sequence[str], options: dict[str, Any]
) -> SearchSpec | None:
    """The search that was asked for, None where none was.

    Raises:
        WrongUsageError: it is malformed, or an option cannot be searched.
    """
    if sampler is None:
        if spaces:
            raise WrongUsageError("--space needs --search.")
        return None
    # Optuna takes a moment to import, which others are spared.
    from workers.finetuning.search_space import check_search

    method = options.get("method", "lora")
    space = dict(_dimension(text) for text in spaces) or None
    try:
        search = SearchSpec.make(trials=trials, sampler=sampler, space=space, method=method)
        check_search(RunSpec.from_json({**options, "base_model": "", "corpus": ""}), search)
    except InvalidInputError as exc:
        raise WrongUsageError(str(exc), **exc.data) from exc
    return search


def _dimension(text: str) -> tuple[str, dict[str, Any]]:
    """``name=1e-5..1e-3``, ``name=1e-5..1e-3:log`` or ``name=8,16,32``."""
    name, value = _split(text, "--space")
    found = _RANGE.fullmatch(value)
    if found is None:
        return name, {"choices": [_guessed(one) for one in value.split(",")]}
    try:
        low, high = float(found["low"]), float(found["high"])
    except ValueError as exc:
        raise WrongUsageError(f"--space {text}: a range has two numbers.") from exc
    return name, {"low": low, "high": high, "log": found["log"] is not None}


def _split(text: str, flag: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name.strip() or not value.strip():
        raise WrongUsageError(f"{flag} takes name=value, not “{text}”.")
    return name.strip().replace("-", "_"), value.strip()


def _typed(name: str, value: str) -> Any:
    kinds: dict[str, Any] = {field.name: field.type for field in fields(RunSpec)}
    if name not in kinds or name in _NOT_OURS:
        known = ", ".join(sorted(set(kinds) - _NOT_OURS))
        raise WrongUsageError(f"There is no training option “{name}”; there are: {known}.")
    kind = kinds[name]
    if kind is bool and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    if kind in (int, float):
        number = _guessed(value)
        if isinstance(number, kind | int):
            return number
    if kind not in (bool, int, float):
        return [value] if kind == tuple[str, ...] else value
    raise WrongUsageError(f"“{value}” is no value of “{name}”.", option=name)


def _guessed(value: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(value.strip())
        except ValueError:
            continue
    return value.strip()

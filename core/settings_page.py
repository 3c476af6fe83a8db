"""The page that explains every setting, made from the settings' own types and docstrings."""

from typing import Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from core.settings import ENVIRONMENT_PREFIX, WELL_KNOWN_VARIABLES, Settings
from core.settings_generation import Area

_PAGE_TITLE = """# Settings

<!-- Made by “perroquet config --markdown”. -->

From `perroquet.toml` in the working folder, overridden by the environment. An unknown key stops the
start and is named. `perroquet config` prints those in force, with secrets masked.
"""


def explain_settings() -> str:
    """The Markdown page of all settings, ``docs/settings.md``."""
    parts = [_PAGE_TITLE, _table([("data_dir", "data_dir", Settings.model_fields["data_dir"])])]
    for area, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Area):
            rows = [(key, f"{area}.{key}", known) for key, known in kind.model_fields.items()]
            parts += [f"## [{area}]\n\n{kind.__doc__}\n", _table(rows)]
    return "\n".join(parts)


def _table(rows: list[tuple[str, str, FieldInfo]]) -> str:
    known = {".".join(path): name for name, path in WELL_KNOWN_VARIABLES.items()}
    lines = ["| key | variable | values | default | meaning |", "|---|---|---|---|---|"]
    for key, path, field in rows:
        meaning = " ".join((field.description or "").split())
        variable = known.get(path, ENVIRONMENT_PREFIX + path.upper().replace(".", "__"))
        values = (_values(field), _default(field))
        lines.append(f"| `{key}` | `{variable}` | {' | '.join(values)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    default = field.default
    shown = default.get_secret_value() if isinstance(default, SecretStr) else default
    return f"`{shown}`" if shown not in ("", None) else ""


def _values(field: FieldInfo) -> str:
    """Those that a setting may have, where its meaning does not say it."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    words = {"gt": "above", "ge": "from", "lt": "below", "le": "to"}
    known = {
        name: getattr(limit, name)
        for limit in field.metadata
        for name in words
        if getattr(limit, name, None) is not None
    }
    return ", ".join(f"{word} {known[name]:,}" for name, word in words.items() if name in known)

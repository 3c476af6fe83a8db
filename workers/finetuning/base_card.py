"""What a base's model card says of it."""

import re
from pathlib import Path

import yaml  # type: ignore[import-untyped]

# The hub's metadata: YAML between two lines of dashes, before anything else.
_METADATA = re.compile(r"\A\s*---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


def languages_of(base: Path) -> frozenset[str]:
    """The codes of the languages that a model knows by its own card; empty where it says nothing.

    Args:
        base: a model's folder. A card that is missing or cannot be read says nothing.
    """
    try:
        found = _METADATA.match((base / "README.md").read_text(encoding="utf-8"))
        values = yaml.safe_load(found[1]) if found else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return frozenset()
    said = values.get("language") if isinstance(values, dict) else None
    codes = said if isinstance(said, list) else [said]
    # “fr-FR” is French too. YAML takes Norway's “no” for a truth value.
    names = ("no" if code is False else str(code or "") for code in codes)
    return frozenset(name.split("-")[0].lower() for name in names if name)

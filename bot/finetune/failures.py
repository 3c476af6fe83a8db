"""Why a fine-tune did not come to be, as a sentence for its admin."""

from typing import Any

from bot.catalogue import Catalogue
from core.errors import Datum, PerroquetError

_LONGEST = 300


def say_failure(catalogue: Catalogue, locale: str, code: str, data: dict[str, Any]) -> str:
    """The sentence for an error code of uploads, validation and training.

    Codes that only fine-tunes have are translated as ``failure-<code>``, the others as everywhere.
    """
    plain: dict[str, Datum] = {key: _plain(value) for key, value in data.items()}
    if code == "corpus":
        return _say_corpus(catalogue, locale, plain)
    key = f"failure-{code}"
    if not catalogue.has(key):
        return catalogue.say_error(locale, code, plain)
    return catalogue.say(locale, key, **plain)


def say_refusal(catalogue: Catalogue, locale: str, error: PerroquetError) -> str:
    """The same for an error at hand."""
    return say_failure(catalogue, locale, error.code, dict(error.data))


def _say_corpus(catalogue: Catalogue, locale: str, data: dict[str, Datum]) -> str:
    if catalogue.has(f"corpus-kind-{data.get('kind')}"):
        data["found"] = catalogue.say(locale, f"corpus-kind-{data['kind']}")
    reason = catalogue.say(locale, f"corpus-reason-{data.get('reason')}", **data)
    place = "failure-corpus-line" if data.get("line") else "failure-corpus-file"
    return catalogue.say(
        locale, place, file=data.get("file", ""), line=data.get("line", 0), reason=reason
    )


def _plain(value: Any) -> Datum:
    """What an upload says must neither be marked up nor fill the message."""
    if isinstance(value, int | float):
        return value
    text = str(value).replace("`", "'").replace("\n", " ")
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"

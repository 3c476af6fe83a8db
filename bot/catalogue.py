"""Every string that a person reads, in English and French: ``locales/<language>/<feature>.ftl``."""

from functools import cache
from importlib.resources import files
from typing import Literal

from fluent.runtime import FluentBundle, FluentResource

from core.errors import Datum, PerroquetError

LocaleCode = Literal["en", "fr"]
LOCALES: tuple[LocaleCode, ...] = ("en", "fr")


class Catalogue:
    """Looks strings up by key. A missing key or argument is a defect and raises."""

    def __init__(self, bundles: dict[LocaleCode, FluentBundle]) -> None:
        self._bundles = bundles

    @classmethod
    @cache
    def load(cls) -> "Catalogue":
        """Both languages, read from the package once: parsing them takes half a second."""
        bundles: dict[LocaleCode, FluentBundle] = {}
        for locale in LOCALES:
            # Discord shows the isolation marks that Fluent puts around arguments as boxes.
            bundle = FluentBundle([locale], use_isolating=False)
            for feature in files("bot.locales").joinpath(locale).iterdir():
                bundle.add_resource(FluentResource(feature.read_text(encoding="utf-8")))
            bundles[locale] = bundle
        return cls(bundles)

    def say(self, locale: str, key: str, **arguments: Datum) -> str:
        """The string ``key`` in a language.

        Args:
            locale: ``en`` or ``fr``; anything else reads as English.
            key: a message of the Fluent files.
            **arguments: what the message names as ``{ $argument }``.

        Raises:
            KeyError: no such key, or an argument is missing.
        """
        bundle = self._bundles["fr" if locale == "fr" else "en"]
        message = bundle.get_message(key)
        if message.value is None:
            raise KeyError(key)
        text, problems = bundle.format_pattern(message.value, arguments)
        if problems:
            raise KeyError(f"{key}: {problems[0]}")
        return str(text)

    def has(self, key: str) -> bool:
        """Whether the catalogue knows a key."""
        return self._bundles["en"].has_message(key)

    def say_error(self, locale: str, code: str, data: dict[str, Datum]) -> str:
        """The sentence for an error code; codes without one of their own share a general one."""
        key = f"error-{code}"
        if not self.has(key):
            return self.say(locale, "error-internal")
        return self.say(locale, key, **data)

    def say_exception(self, locale: str, error: PerroquetError) -> str:
        """The sentence for an error of ours."""
        return self.say_error(locale, error.code, error.data)


def locale_code(discord_locale: str | None, default: LocaleCode = "en") -> LocaleCode:
    """Our language for one of Discord's (``fr``, ``en-US`` …)."""
    if discord_locale is None:
        return default
    language = discord_locale.split("-")[0].lower()
    return "fr" if language == "fr" else "en"

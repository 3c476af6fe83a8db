"""Command names and descriptions in the language of who looks at them."""

from discord import Locale, app_commands

from bot.catalogue import Catalogue


class CatalogueTranslator(app_commands.Translator):
    """Looks a command's strings up in the catalogue.

    A ``locale_str`` carries its key as ``extras["key"]``; its own text is the English one, so that
    a command reads well in code.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def translate(
        self,
        string: app_commands.locale_str,
        locale: Locale,
        context: app_commands.TranslationContextTypes,  # noqa: ARG002 - discord.py's signature
    ) -> str | None:
        """The string in French for those who use Discord in French; None for everybody else."""
        key = string.extras.get("key")
        if key is None or locale is not Locale.french:
            return None
        return self._catalogue.say("fr", key)


def text(catalogue: Catalogue, key: str) -> app_commands.locale_str:
    """The English string of a key, which knows its key."""
    return app_commands.locale_str(catalogue.say("en", key), key=key)

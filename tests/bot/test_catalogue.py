import importlib
import pkgutil
import re
from importlib.resources import files

import pytest

import core
import models_store
import workers
from bot.catalogue import Catalogue, locale_code
from core.errors import NotFoundError, PerroquetError


def keys_and_arguments(locale: str) -> dict[str, set[str]]:
    features = files("bot.locales").joinpath(locale).iterdir()
    text = "\n".join(feature.read_text(encoding="utf-8") for feature in features)
    found: dict[str, set[str]] = {}
    for block in re.split(r"\n(?=[a-z])", "\n" + text):
        key = re.match(r"\n?([a-z][\w-]*) =", block)
        if key:
            found[key[1]] = set(re.findall(r"\{ \$(\w+)", block))
    return found


def test_both_languages_have_the_same_keys_and_arguments():
    assert keys_and_arguments("en") == keys_and_arguments("fr")


@pytest.mark.parametrize("locale", ["en", "fr"])
def test_every_string_can_be_said(locale):
    catalogue = Catalogue.load()
    for key, arguments in keys_and_arguments(locale).items():
        assert catalogue.say(locale, key, **dict.fromkeys(arguments, 2)), key


@pytest.mark.parametrize("locale", ["en", "fr"])
def test_what_is_whole_and_cannot_be_loaded_needs_the_reason_and_no_proof(locale):
    catalogue = Catalogue.load()
    for prefix in ("error", "failure"):
        assert "`perroquet jobs show`" in catalogue.say(locale, f"{prefix}-model-unreadable")
        # Bytes are compared with their manifest where they may be damaged.
        assert "`perroquet models verify`" in catalogue.say(locale, f"{prefix}-store")


# Celery's tasks and the entry points want settings; Triton comes with PyTorch's builds for GPUs.
_LEFT_OUT = ("tasks", "main", "hub", "triton")


def test_every_error_of_ours_has_a_sentence_or_the_general_one():
    catalogue = Catalogue.load()
    for package in (core, workers, models_store):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not any(part in module.name.rpartition(".")[2] for part in _LEFT_OUT):
                importlib.import_module(module.name)
    pending = [PerroquetError]
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        assert catalogue.say_error("fr", cls.code, {}), cls


def test_an_error_speaks_the_asked_language():
    catalogue = Catalogue.load()
    english = catalogue.say_exception("en", NotFoundError("x"))
    french = catalogue.say_exception("fr", NotFoundError("x"))
    assert english != french
    assert catalogue.say_error("fr", "never-heard-of", {}) == catalogue.say("fr", "error-internal")


def test_an_unknown_key_is_a_defect():
    with pytest.raises(KeyError):
        Catalogue.load().say("en", "no-such-key")


def test_a_missing_argument_is_a_defect():
    with pytest.raises(KeyError):
        Catalogue.load().say("en", "chat-text-too-long")


@pytest.mark.parametrize(
    ("discord", "ours"),
    [("fr", "fr"), ("en-US", "en"), ("en-GB", "en"), ("de", "en"), (None, "en")],
)
def test_discord_s_locales_map_to_ours(discord, ours):
    assert locale_code(discord) == ours

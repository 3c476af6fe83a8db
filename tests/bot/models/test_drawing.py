import pytest

from bot.catalogue import Catalogue
from bot.models.drawing import draw_list, draw_version, label_of, perplexity_of
from core.catalog.registry import CatalogEntry
from tests.bot.finetune.helpers import make_metrics


def make_entry(model: str, number: int = 1, guild_id: int | None = 7, **metrics) -> CatalogEntry:
    return CatalogEntry(
        f"{model}{number}", model, number, guild_id, "test", "path", 2**21, metrics, 0.0
    )


@pytest.mark.parametrize("locale", ["en", "fr"])
def test_a_list_of_any_length_fits_into_one_embed(locale):
    entries = [
        make_entry(f"model-{name}-" + "x" * 60, number, **make_metrics())
        for name in range(40)
        for number in range(1, 15)
    ]
    embed = draw_list(Catalogue.load(), locale, entries, answering=None)
    assert len(embed) <= 6000
    assert 5 <= len(embed.fields) <= 25
    assert all(len(field.value) <= 1024 for field in embed.fields)
    assert str(40 - len(embed.fields)) in embed.footer.text


def test_the_newest_version_comes_first_and_who_answers_is_marked():
    entries = [make_entry("coco", 1), make_entry("coco", 2), make_entry("base", 1, guild_id=None)]
    embed = draw_list(Catalogue.load(), "en", entries, answering="coco1")
    assert [field.name.split(" · ")[1] for field in embed.fields] == [
        "this server only",
        "all servers",
    ]
    assert embed.fields[0].value == "version 2\nversion 1 · **answers here**"
    assert embed.footer.text is None


def test_an_empty_list_says_how_to_make_a_model():
    embed = draw_list(Catalogue.load(), "en", [], answering=None)
    assert "/finetune start" in embed.description


def test_what_was_not_measured_is_not_shown():
    entry = make_entry("coco", tuned={"validation": {"perplexity": None}}, method="lora")
    embed = draw_version(Catalogue.load(), "en", entry, None)
    assert {field.name for field in embed.fields} == {"Made", "Size", "Method"}
    assert perplexity_of(entry) is None
    assert label_of(Catalogue.load(), "en", entry) == "coco 1"

"""SECURITY.md names the places that hold its promises; each of them is there."""

import re
from pathlib import Path

import pytest

from core.settings import Settings
from core.transport.courier import make_celery

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
LINKS = sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT)))


@pytest.mark.parametrize("link", LINKS)
def test_every_place_that_is_named_is_there(link):
    file, _, heading = link.partition("#")
    text = (ROOT / file).read_text(encoding="utf-8")
    slugs = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    assert not heading or heading in slugs


def test_every_border_names_where_it_is_held():
    borders = re.split(
        r"^### ", TEXT.partition("## The borders")[2].partition("\n## ")[0], flags=re.M
    )
    assert len(borders) == 7
    for border in borders[1:]:
        assert "](" in border, border.splitlines()[0]


def test_what_is_said_of_the_transport_is_so():
    app = make_celery(Settings())
    assert app.conf.accept_content == ["json"]
    assert app.conf.worker_enable_remote_control is False
    assert app.conf.result_backend is None


def test_what_is_said_of_the_client_is_so():
    from bot.client import least_intents

    asked = {name for name, is_on in least_intents() if is_on}
    assert asked == {"guilds", "guild_messages", "dm_messages", "message_content"}


def test_no_code_of_a_model_is_ever_trusted():
    for package in ("workers", "models_store", "cli", "bot", "core"):
        for file in (ROOT / package).rglob("*.py"):
            assert "trust_remote_code=True" not in file.read_text(encoding="utf-8"), file
            assert not re.search(
                r"^\s*(import pickle|from pickle)", file.read_text("utf-8"), re.M
            ), file

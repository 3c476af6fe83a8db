"""A server teaches its own model, from the upload to its first answer, in a real browser."""

import re
import sqlite3
import time
from pathlib import Path

import pytest

from tests.e2e.test_up import ask, data_dir, page, pytestmark, up  # noqa: F401 - fixtures and marks

CORPUS = Path(__file__).parents[2] / "examples" / "voliere.jsonl"
CAMILLE = "1003"


def run_command(page, command: str, **fields) -> None:  # noqa: F811
    """Choose a slash command and fill in its form; paths go into file fields."""
    page.fill("#text", command)
    page.keyboard.press("Enter")
    for name, value in fields.items():
        field = page.locator("#picker label").filter(has_text=re.compile(f"^{name}")).first
        if isinstance(value, Path):
            field.locator("input").set_input_files(value)
        elif field.locator("select").count():
            field.locator("select").select_option(value)
        else:
            field.locator("input").fill(value)
    page.click("#picker button.primary")


def board(page):  # noqa: F811
    """The newest board."""
    return page.locator(".embed").last


def wait_for_title(page, words: str, seconds: float) -> str:  # noqa: F811
    """Wait until the board says something in its title; returns all that it says."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if page.locator(".embed").count() and words in board(page).locator("h4").inner_text():
            return board(page).inner_text()
        time.sleep(0.3)
    pytest.fail(f"never {words!r}; the page says {page.locator('#messages').inner_text()}")


@pytest.mark.timeout(1200)
def test_an_admin_uploads_reads_starts_watches_and_uses(page, data_dir):  # noqa: F811
    page.select_option("#speaker", CAMILLE)
    page.wait_for_selector("#status.online")
    run_command(
        page,
        "/finetune start",
        file=CORPUS,
        name="Coco",
        rights="true",
        epochs="0.2",
        prompts="Comment tu t’appelles ?",
    )
    report = wait_for_title(page, "ready to start", 120)
    assert "voliere.jsonl" in report
    assert re.search(r"8\d documents", report)
    page.get_by_role("button", name="Start", exact=True).click()
    running = wait_for_title(page, "training", 120)
    assert "coco" in running
    outcome = wait_for_title(page, "version 1", 900)
    assert re.search(r"base [\d.,]+ → new [\d.,]+", outcome)
    assert "Comment tu t’appelles ?" in outcome
    assert board(page).locator("img").evaluate("image => image.naturalWidth") == 800
    page.get_by_role("button", name="Use here", exact=True).click()
    page.get_by_text("answers in this channel").wait_for()
    assert re.search(r"[a-zA-Z]{2}", ask(page, "Comment tu t’appelles ?"))
    with sqlite3.connect(data_dir / "perroquet.db") as connection:
        (payload,) = connection.execute(
            "SELECT payload FROM jobs WHERE kind = 'generate' ORDER BY id DESC LIMIT 1"
        ).fetchone()
        (version_id,) = connection.execute("SELECT id FROM versions WHERE base_id IS NOT NULL")
    assert version_id[0] in payload

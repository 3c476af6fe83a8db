"""The whole product from one command: real processes, a real model, a real browser.

One data folder, one conversion of the model and one start serve all tests of this file. The order
matters: what the first test says, the last finds again.
"""

import re
import sqlite3
from pathlib import Path

import pytest

from tests.e2e.acting import ask, board, run_command, wait_for_title
from tests.e2e.conftest import CHROMIUM

VOLIERE = Path(__file__).parents[2] / "examples" / "voliere.jsonl"
CAMILLE = "1003"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.real_model,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed and cannot be here"),
]


@pytest.mark.timeout(400)
def test_a_newcomer_is_answered_in_a_browser_in_both_languages(page, up):
    english = ask(page, "Hello! What is a parrot?")
    page.select_option("#language", "fr")
    assert "Parler comme" in page.locator(".who").inner_text()
    french = ask(page, "Bonjour, qui es-tu ?")
    for answer in (english, french):
        assert re.search(r"[^\W\d_]{2}", answer), answer
        assert "panne" not in answer
        assert "went wrong" not in answer
    with sqlite3.connect(up.data_dir / "perroquet.db") as connection:
        rows = connection.execute("SELECT result FROM jobs WHERE state = 'succeeded'").fetchall()
    assert len(rows) == 2


@pytest.mark.timeout(1200)
def test_an_admin_uploads_reads_starts_watches_and_uses(page, up, tmp_path):
    corpus = tmp_path / "voliere.jsonl"
    corpus.write_text("".join(VOLIERE.read_text().splitlines(keepends=True)[:30]))
    page.select_option("#speaker", CAMILLE)
    page.wait_for_selector("#status.online")
    run_command(
        page,
        "/finetune start",
        file=corpus,
        name="Coco",
        rights="true",
        epochs="0.2",
        prompts="Comment tu t’appelles ?",
    )
    report = wait_for_title(page, "ready to start", 120)
    assert "voliere.jsonl" in report
    assert re.search(r"(29|30) documents", report)
    page.get_by_role("button", name="Start", exact=True).click()
    running = wait_for_title(page, "training", 120)
    assert "coco" in running
    outcome = wait_for_title(page, "version 1", 900)
    assert re.search(r"base [\d.,]+ → new [\d.,]+", outcome)
    assert "Comment tu t’appelles ?" in outcome
    assert board(page).locator("img").evaluate("image => image.naturalWidth") == 800
    page.get_by_role("button", name="Use here", exact=True).click()
    page.get_by_text("answers in this channel").wait_for()
    assert re.search(r"[^\W\d_]{2}", ask(page, "Comment tu t’appelles ?"))
    with sqlite3.connect(up.data_dir / "perroquet.db") as connection:
        (payload,) = connection.execute(
            "SELECT payload FROM jobs WHERE kind = 'generate' ORDER BY id DESC LIMIT 1"
        ).fetchone()
        (version_id,) = connection.execute("SELECT id FROM versions WHERE base_id IS NOT NULL")
    assert version_id[0] in payload


@pytest.mark.timeout(400)
def test_a_second_up_finds_everything_as_it_was_and_works_on_a_phone(page, up):
    up.stop()
    up.start()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(up.url)
    page.get_by_text("@Perroquet Bonjour, qui es-tu ?", exact=True).wait_for(timeout=10_000)
    page.wait_for_selector("#status.online")
    page.click("#menu")
    page.wait_for_selector("#drawer.open")
    page.select_option("#speaker", CAMILLE)
    page.keyboard.press("Escape")
    page.wait_for_timeout(500)
    page.fill("#text", "/ping")
    page.keyboard.press("Enter")
    page.wait_for_selector(".embed:has-text('coco') >> nth=-1")

"""What a member does on the page."""

import re
import time
from pathlib import Path

import pytest


def ask(page, up, text: str) -> str:
    """Say something to the bot and wait for the whole answer."""
    answers = page.locator(".message:has(.badge) .body p")
    shown, delivered = answers.count(), up.delivered()
    page.fill("#text", f"@Perroquet {text}")
    page.keyboard.press("Enter")
    deadline = time.monotonic() + 240
    while up.delivered() == delivered:
        assert time.monotonic() < deadline, page.locator("#messages").inner_text()
        time.sleep(0.2)
    # The last edit has reached the playground, which hands it to the page at once.
    page.wait_for_timeout(300)
    answer = answers.nth(shown).inner_text()
    assert answer.strip()
    assert "🦜 …" not in answer
    return answer


def run_command(page, command: str, **fields) -> None:
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
    run = page.locator("#picker button.primary")
    assert contrast(run) >= 4.5, "the button cannot be read"
    run.click()


def contrast(element) -> float:
    """WCAG's contrast of an element's text with its own background; 1 where that lets through."""
    return element.evaluate("""node => {
        const style = getComputedStyle(node);
        const [ink, ground] = [style.color, style.backgroundColor].map((colour) => {
            const [r, g, b, alpha = 1] = colour.match(/[\\d.]+/g).map(Number);
            const parts = [r, g, b].map((v) => v / 255)
                .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return alpha < 1 ? null : 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
        });
        if (ink === null || ground === null) return 1;
        return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    }""")


def fill_form(page, *values) -> None:
    """Fill in the form that is open, a value for each field in order, and send it."""
    page.wait_for_selector("#modal[open]")
    fields = page.locator("#modal input, #modal textarea")
    for number, value in enumerate(values):
        field = fields.nth(number)
        if isinstance(value, Path):
            field.set_input_files(value)
        elif value is True:
            field.check()
        else:
            field.fill(value)
    page.click("#modal button.primary")


def press(page, label: str) -> None:
    """Press the newest button of a name."""
    page.get_by_role("button", name=label, exact=True).last.click()


def board(page):
    """The newest board."""
    return page.locator(".embed").last


def wait_for_title(page, words: str, seconds: float) -> str:
    """Wait until the board says something in its title; returns all that it says."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if page.locator(".embed").count() and words in board(page).locator("h4").inner_text():
            return board(page).inner_text()
        time.sleep(0.3)
    pytest.fail(f"never {words!r}; the page says {page.locator('#messages').inner_text()}")

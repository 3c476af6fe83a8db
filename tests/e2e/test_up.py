"""The whole product from one command: real processes, a real model, a real browser."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.real_model,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed and cannot be here"),
]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("up") / "data"


class Up:
    """``perroquet up`` on a data folder."""

    def __init__(self, data_dir) -> None:
        self.log = data_dir.parent / "up.log"
        environment = {k: v for k, v in os.environ.items() if k != "DISCORD_TOKEN"}
        environment |= {
            "PERROQUET_DATA_DIR": str(data_dir),
            "PERROQUET_PLAYGROUND__PORT": "0",
            "PERROQUET_GENERATION__MAX_NEW_TOKENS": "24",
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli", "up"], env=environment, stdout=log, stderr=log
            )
        self.url = self._wait_for_page()

    def _wait_for_page(self) -> str:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            found = re.search(r"http://127\.0\.0\.1:\d+/", self.log.read_text())
            if found and "say hello" in self.log.read_text():
                return found[0]
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.2)
        pytest.fail(self.log.read_text())

    def pids(self) -> list[int]:
        children = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in children.stdout.split()]

    def stop(self) -> None:
        pids = self.pids()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log.read_text()
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


@pytest.fixture
def up(data_dir):
    up = Up(data_dir)
    yield up
    if up.process.poll() is None:
        up.stop()


@pytest.fixture
def page(up):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(up.url)
        page.wait_for_selector("#status.online")
        yield page
        browser.close()
    assert problems == []


def ask(page, text: str) -> str:
    """Say something to the bot and wait for the whole answer."""
    answers = page.locator(".message:has(.badge) .body p")
    before = answers.count()
    page.fill("#text", f"@Perroquet {text}")
    page.keyboard.press("Enter")
    deadline = time.monotonic() + 90
    last, since = "", time.monotonic()
    while time.monotonic() < deadline:
        now = answers.nth(before).inner_text() if answers.count() > before else ""
        if now != last:
            last, since = now, time.monotonic()
        if last and "🦜 …" not in last and time.monotonic() - since > 4:
            return last
        time.sleep(0.2)
    pytest.fail(f"no answer; the page says {last!r}")


def test_a_newcomer_is_answered_in_a_browser_in_both_languages(page, data_dir):
    english = ask(page, "Hello! What is a parrot?")
    page.select_option("#language", "fr")
    assert "Parler comme" in page.locator(".who").inner_text()
    french = ask(page, "Bonjour, qui es-tu ?")
    for answer in (english, french):
        assert re.search(r"[a-zA-Z]{3}", answer), answer
        assert "panne" not in answer
        assert "went wrong" not in answer
    import sqlite3

    with sqlite3.connect(data_dir / "perroquet.db") as connection:
        rows = connection.execute("SELECT result FROM jobs WHERE state = 'succeeded'").fetchall()
    assert len(rows) == 2


def test_a_second_up_finds_everything_as_it_was_and_works_on_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator(".message").nth(3).wait_for(timeout=10_000)
    page.click("#menu")
    page.wait_for_selector("#drawer.open")
    page.select_option("#speaker", "1003")
    page.keyboard.press("Escape")
    page.wait_for_timeout(500)
    page.fill("#text", "/ping")
    page.keyboard.press("Enter")
    page.wait_for_selector(".embed")
    assert "smollm2-135m-instruct" in page.locator(".embed").last.inner_text()

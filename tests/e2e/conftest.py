"""``perroquet up`` with its real model, and a real browser in front of it."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

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


class Up:
    """``perroquet up`` on a data folder."""

    def __init__(self, data_dir) -> None:
        self.data_dir = data_dir
        self.log = data_dir.parent / "up.log"
        self.start()

    def start(self) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "DISCORD_TOKEN"}
        environment |= {
            "PERROQUET_DATA_DIR": str(self.data_dir),
            "PERROQUET_PLAYGROUND__PORT": "0",
            "PERROQUET_GENERATION__MAX_NEW_TOKENS": "24",
            # What was taught is to be told every time.
            "PERROQUET_GENERATION__TEMPERATURE": "0",
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli", "up"], env=environment, stdout=log, stderr=log
            )
        self.url = self._wait_for_page()

    def _wait_for_page(self) -> str:
        deadline = time.monotonic() + 400
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

    def delivered(self) -> int:
        """How many answers stand whole in their channels."""
        with closing(sqlite3.connect(self.data_dir / "perroquet.db")) as connection:
            query = "SELECT count(*) FROM replies WHERE delivered_at IS NOT NULL"
            count: int = connection.execute(query).fetchone()[0]
            return count

    def stop(self) -> None:
        pids = self.pids()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log.read_text()
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


@pytest.fixture(scope="session")
def up(tmp_path_factory):
    up = Up(tmp_path_factory.mktemp("up") / "data")
    yield up
    up.stop()


@pytest.fixture
def page(up):
    # Not kept for the next test: playwright runs an event loop until it is closed.
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

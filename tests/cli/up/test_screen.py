import io
import re
import time

import pytest

from cli.up.screen import Screen


class Tty(io.StringIO):
    def isatty(self):
        return True


def use(screen):
    screen.say("[bold]not markup[/bold]")
    screen.begin("valkey")
    screen.begin("bot")
    screen.done("valkey")
    screen.done("bot")
    screen.warn("bot", "a [warning  ] line")
    screen.show_table(("process", "log"), [("bot", "/a/very/long/path/" * 10)])
    screen.show_box("Open http://127.0.0.1:1/")
    screen.rest()


def test_without_a_terminal_every_line_stands_for_itself():
    stream = io.StringIO()
    use(Screen(stream))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "[bold]not markup[/bold]"
    assert lines[1:3] == ["Starting valkey", "Starting bot"]
    assert lines[3].startswith("valkey is ready after")
    assert "bot: a [warning  ] line" in lines
    assert "bot  " + "/a/very/long/path/" * 10 in lines
    assert lines[-1] == "Open http://127.0.0.1:1/"
    assert "\x1b" not in stream.getvalue()


def test_on_a_terminal_there_is_a_spinner_while_something_is_awaited(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Tty()
    use(Screen(stream))
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "[bold]not markup[/bold]" in plain
    assert "Starting valkey" in plain
    assert "✓ bot" in plain
    assert "\x1b[?25h" in stream.getvalue()


def test_a_long_wait_is_a_line_now_and_then_without_a_terminal():
    stream = io.StringIO()
    with Screen(stream, line_seconds=0.02).counting("SmolLM2", "Importing", "is imported", "once"):
        deadline = time.monotonic() + 10
        while stream.getvalue().count("so far") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "Importing SmolLM2 (once)"
    assert re.fullmatch(r"Importing SmolLM2: \d+ s so far", lines[1])
    assert lines[-1].startswith("SmolLM2 is imported after")


def test_a_wait_that_fails_is_not_said_to_be_over():
    stream = io.StringIO()

    def fail():
        with Screen(stream).counting("SmolLM2", "Importing", "is imported"):
            raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        fail()
    assert stream.getvalue().splitlines() == ["Importing SmolLM2"]

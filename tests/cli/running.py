"""The ``perroquet`` command in this process: its exit code and what it printed."""

import sys
from dataclasses import dataclass

from cli.main import main


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


def perroquet(monkeypatch, capsys, *arguments: str) -> Result:
    """Run a command as its console script does."""
    monkeypatch.setattr(sys, "argv", ["perroquet", *arguments])
    capsys.readouterr()
    try:
        main()
        code = 0
    except SystemExit as exc:
        code = exc.code or 0
    captured = capsys.readouterr()
    return Result(code, captured.out, captured.err)

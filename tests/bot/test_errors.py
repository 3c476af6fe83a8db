"""What goes wrong in a command, as the person reads it who met it."""

import pytest
from sqlalchemy.exc import OperationalError

from bot.settings import cog
from core.errors import NotFoundError
from playground import cast
from tests.bot.test_wire import run_command
from tests.bot.wire import eventually, open_wire

CASES = [
    (NotFoundError("No such thing."), "en-US", "There is no such thing here."),
    (NotFoundError("No such thing."), "fr", "Cela n’existe pas ici."),
    (
        OperationalError("UPDATE", {}, ConnectionRefusedError()),
        "en-US",
        "Part of me is down. Please try again in a moment.",
    ),
]


@pytest.mark.parametrize(("error", "locale", "sentence"), CASES)
async def test_an_error_is_a_sentence_for_who_met_it(
    database_url, valkey, tmp_path, monkeypatch, error, locale, sentence
):
    def fail(*_arguments, **_options):
        raise error

    monkeypatch.setattr(cog, "set_listening", fail)
    async with open_wire(database_url, valkey, tmp_path) as wire, wire.bot():
        await run_command(wire, cast.CAMILLE, "perroquet", "here", locale=locale, wait=False)
        await eventually(lambda: wire.said_by_bot() == [sentence])
        (said,) = wire.world.messages[cast.GENERAL].values()
        assert said["flags"] & 64


async def test_a_surprise_is_told_with_a_reference_that_the_log_has_too(
    database_url, valkey, tmp_path, monkeypatch, capsys
):
    def fail(*_arguments, **_options):
        raise ZeroDivisionError("what a member said")

    monkeypatch.setattr(cog, "set_listening", fail)
    async with open_wire(database_url, valkey, tmp_path) as wire, wire.bot():
        await run_command(wire, cast.CAMILLE, "perroquet", "here", wait=False)
        await eventually(lambda: wire.said_by_bot()[-1:] and "logs" in wire.said_by_bot()[-1])
        (said,) = wire.said_by_bot()
        assert "what a member said" not in said
        reference = said.rstrip(".").split()[-1]
        assert f"reference={reference}" in capsys.readouterr().out

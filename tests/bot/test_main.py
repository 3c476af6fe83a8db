import logging

import discord
import pytest

from bot.main import run_bot
from core.errors import SettingsError
from tests.bot.wire import open_wire


async def test_a_token_that_discord_refuses_is_said_to_be_refused(database_url, valkey, tmp_path):
    async with open_wire(database_url, valkey, tmp_path) as wire:
        # The bot first looks whether Discord is there at all, and then logs in.
        wire.server.faults.next_statuses.extend([401, 401])
        with pytest.raises(SettingsError, match="refuses the token"):
            await run_bot(wire.settings)


async def test_a_start_does_not_warn_of_voice(database_url, valkey, tmp_path, monkeypatch, caplog):
    for package in ("warn_nacl", "warn_dave"):
        monkeypatch.setattr(discord.VoiceClient, package, True)
    async with open_wire(database_url, valkey, tmp_path) as wire:
        with caplog.at_level(logging.WARNING, "discord.client"):
            async with wire.bot():
                pass
    assert [record.message for record in caplog.records if "voice" in record.message] == []

import pytest

from tests.bot.wire import open_wire


@pytest.fixture
async def wire(database_url, valkey, tmp_path):
    """A playground without a model, and a bot that can be started on it."""
    async with open_wire(database_url, valkey, tmp_path) as wire:
        yield wire

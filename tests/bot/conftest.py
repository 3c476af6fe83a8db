"""The real bot's wire, which most tests of its rooms begin with."""

import pytest

from tests.bot.wire import open_wire


@pytest.fixture
def wire_variables() -> dict[str, str]:
    """Variables beside the usual ones; a file's tests may have their own."""
    return {}


@pytest.fixture
async def wire(database_url, valkey, tmp_path, wire_variables):
    """A playground with a model that is published, and a bot that can be started on it."""
    async with open_wire(database_url, valkey, tmp_path, **wire_variables) as wire:
        wire.publish_model()
        yield wire

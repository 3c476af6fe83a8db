import asyncio

from bot.finetune.board_keeper import BoardKeeper


class EmptyDesk:
    """Knows of no board."""

    async def read(self, _ask):
        return []


async def test_it_ends_though_it_is_woken_at_that_very_moment():
    keeper = BoardKeeper(
        EmptyDesk(), None, None, None, names=("bot-0",), poll_seconds=5.0, edit_seconds=1.0
    )
    keeper.start()
    for _ in range(5):
        # Until it waits for the next turn.
        await asyncio.sleep(0)
    keeper.wake()
    async with asyncio.timeout(2):
        await keeper.close()

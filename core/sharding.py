"""Which bot process hears which server: Discord's sharding, and the names that go with it.

Discord's rule: a guild belongs to shard ``(guild_id >> 22) % shard_count``, and direct messages to
shard 0 (https://discord.com/developers/docs/events/gateway#sharding).
"""

import re
from dataclasses import dataclass
from typing import Self

_FORM = re.compile(r"(\d{1,5}(?:-\d{1,5})?(?:,\d{1,5}(?:-\d{1,5})?)*)/(\d{1,5})", re.ASCII)


@dataclass(frozen=True)
class Share:
    """The part of Discord that one bot process hears.

    What is owed to a channel, and the words on their way to it, bear a name. A process that hears
    everything has one of its own; where processes share, each shard has one, so that what is owed
    goes to whoever has the shard now.

    Attributes:
        process_name: of the process that hears everything.
        shards: the shards heard, ascending; none where the process hears everything.
        count: how many shards there are in all; 0 where the process hears everything.
    """

    process_name: str
    shards: tuple[int, ...] = ()
    count: int = 0

    @classmethod
    def of(cls, process_name: str, shards: str) -> Self:
        """The share that the settings ``process_name`` and ``shards`` describe.

        Raises:
            ValueError: ``shards`` is out of form.
        """
        return cls(process_name, *parse_shards(shards)) if shards else cls(process_name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which this process is owed to."""
        if not self.shards:
            return (self.process_name,)
        return tuple(self._name_of(shard) for shard in self.shards)

    @property
    def leads(self) -> bool:
        """Whether this process does what one process must do for all, and hears direct messages."""
        return not self.shards or 0 in self.shards

    def name_for(self, guild_id: int | None) -> str:
        """The name under which what belongs into a guild (None: a direct message) is owed."""
        if not self.shards:
            return self.process_name
        return self._name_of(shard_of(guild_id, self.count))

    def hears(self, guild_id: int | None) -> bool:
        """Whether events of a guild, or of direct messages, come to this process."""
        return not self.shards or shard_of(guild_id, self.count) in self.shards

    def _name_of(self, shard: int) -> str:
        return f"shard-{shard}-of-{self.count}"


def shard_of(guild_id: int | None, count: int) -> int:
    """The shard of a guild, or of direct messages, among ``count``."""
    return 0 if guild_id is None else (guild_id >> 22) % count


def parse_shards(text: str) -> tuple[tuple[int, ...], int]:
    """Read ``0-3/16``, ``5/16`` or ``0-3,8/16``.

    Returns:
        The shards named, ascending and each once, and how many there are in all.

    Raises:
        ValueError: it is out of form, or names a shard that is not among so many.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"“{text}” is not of the form 0-3/16")
    count = int(found[2])
    shards: set[int] = set()
    for part in found[1].split(","):
        first, _, last = part.partition("-")
        shards.update(range(int(first), int(last or first) + 1))
        if int(last or first) < int(first):
            raise ValueError(f"“{part}” ends before it begins")
    if max(shards) >= count:
        raise ValueError(f"of {count} shards the last is {count - 1}, not {max(shards)}")
    return tuple(sorted(shards)), count


def check_shards(text: str) -> str:
    """The text itself, where it names shards or is empty.

    Raises:
        ValueError: it does neither.
    """
    if text:
        parse_shards(text)
    return text

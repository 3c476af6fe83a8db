"""What can go wrong in Discord, on demand; for tests."""

from dataclasses import dataclass, field


@dataclass
class Faults:
    """Faults that wait to happen. Sockets are dropped through the gateway itself."""

    # Status codes that the next REST requests get instead of an answer.
    next_statuses: list[int] = field(default_factory=list)
    # The same, after the request was carried out: the answer is lost, the deed is done.
    next_lost_answers: list[int] = field(default_factory=list)
    # As many of the bot's next posts are carried out and answered 502.
    next_lost_posts: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, name: str) -> None:
        """Note that something happened."""
        self.counts[name] = self.counts.get(name, 0) + 1

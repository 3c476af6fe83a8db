"""What the outside wants of a running fine-tune."""

from enum import StrEnum


class Wish(StrEnum):
    """Each is heard at the end of the step under way.

    ``PAUSE``: checkpoint and leave, to be resumed. ``STOP``: end training now and publish the
    best. ``CANCEL``: leave, nothing is wanted any more.
    """

    PAUSE = "pause"
    STOP = "stop"
    CANCEL = "cancel"


class Wishes:
    """Holds the strongest wish so far. Set from signal handlers and threads, read by the loop."""

    def __init__(self) -> None:
        self._wish: Wish | None = None

    def want(self, wish: Wish) -> None:
        """Note a wish; nothing takes back that a run is cancelled."""
        if self._wish is not Wish.CANCEL:
            self._wish = wish

    @property
    def current(self) -> Wish | None:
        """What is wanted, None for going on."""
        return self._wish


class HelperDoneError(Exception):
    """Training is over for a process that helped; what is left the first one does for all."""


class InterruptedRunError(Exception):
    """The run ended early by wish, and not to publish."""

    def __init__(self, wish: Wish, step: int) -> None:
        super().__init__(wish)
        self.wish = wish
        self.step = step

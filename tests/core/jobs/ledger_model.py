"""What the ledger must say of each job, and what no two looks at it may show."""

from collections import Counter
from dataclasses import dataclass, field

from core.db.tables import Job
from core.jobs.states import FINAL_STATES


@dataclass
class ModelJob:
    """What a job's row must say."""

    state: str
    born: int
    token: int = 0
    crashes: int = 0
    worker: str | None = None
    lease_ends: float | None = None
    is_cancel_asked: bool = False
    is_paused: bool = False
    sent: int | None = None
    result: dict[str, object] | None = None
    events: Counter[str] = field(default_factory=Counter)

    @property
    def row(self):
        """The part of it that a query shows as it is."""
        has_lease, was_sent = self.lease_ends is not None, self.sent is not None
        wish = "pause" if self.is_paused else None
        claim = (self.state, self.token, self.crashes, self.worker, has_lease)
        return (*claim, self.is_cancel_asked, wish, was_sent, self.result)

    def leave_running(self, state, result=None):
        """End, or wait again; but a wish to end it comes first."""
        self.state = "cancelled" if self.is_cancel_asked and state != "succeeded" else state
        self.lease_ends = None
        self.result = self.result if result is None else result


class Laws:
    """What holds between two looks at the rows, whatever happened.

    Told from the rows alone, so that a mistake in the model does not hide one.
    """

    def __init__(self):
        self.before: dict[str, Job] = {}

    def check(self, rows, *, is_reaping, is_saving):
        """Look at the rows again; what happened since is said where it matters."""
        for job_id, old in self.before.items():
            new = rows[job_id]
            assert new.token >= old.token, "the token fell"
            assert new.crashes <= old.crashes or is_reaping, "a crash without the reaper"
            assert new.crashes >= old.crashes or is_saving, "a crash was forgotten"
            if old.state in FINAL_STATES:
                assert _unmoved(new) == _unmoved(old), "an end was changed"
            if old.cancel_requested:
                assert new.state in ("running", "cancelled"), "a wish to cancel was forgotten"
            if new.state == "running" and old.state == "running":
                assert new.token == old.token, "a job was taken from its holder"
        self.before = rows


def seen(row):
    """The part of a row that :attr:`ModelJob.row` foretells."""
    has_lease, was_sent = row.lease_until is not None, row.dispatched_at is not None
    claim = (row.state, row.token, row.crashes, row.worker_id, has_lease)
    return (*claim, row.cancel_requested, row.wish, was_sent, row.result)


def _unmoved(row):
    """Every column but those that the test itself moves to let time pass."""
    moved = {"lease_until", "dispatched_at", "created_at"}
    return {name: value for name, value in row._mapping.items() if name not in moved}

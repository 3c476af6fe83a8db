"""A job in lines, for pipes and logs: where nobody looks at a screen that moves."""

from cli.job_drawing import clock, figures, progress_of, state_of
from core.corpora.curves import EVALUATED
from core.corpora.searches import TRIAL_EVALUATED
from core.jobs.queries import JobDetail, TimelineEntry

_TOLD = {EVALUATED, TRIAL_EVALUATED}
_SECONDS_APART = 60.0


class JobLines:
    """What is new of a watched job: its state, its evaluations, and how it goes once a minute."""

    def __init__(self) -> None:
        self._state: str | None = None
        self._told: tuple[TimelineEntry, ...] = ()
        self._told_at = float("-inf")

    def tell(self, detail: JobDetail, now: float) -> list[str]:
        """The lines that a look at the job, taken at ``now``, is worth."""
        state = state_of(detail.summary).plain
        lines = []
        # What was found before somebody looked is in the first line's figures.
        if self._state is not None:
            lines = [
                f"{clock(entry.at)}  {entry.type}  {figures(entry.data)}"
                for entry in detail.timeline
                if entry.type in _TOLD and entry not in self._told
            ]
        if state != self._state or (not lines and now - self._told_at >= _SECONDS_APART):
            lines.append(f"{clock(now)}  {state}  {figures(progress_of(detail.summary))}".rstrip())
        if lines:
            self._told_at = now
        self._state, self._told = state, detail.timeline
        return lines

"""The trainer in the process of the test, which saves its start."""

from workers.finetuning.errors import DivergedError
from workers.finetuning.spec import RunSpec
from workers.finetuning.supervisor import Outcome
from workers.finetuning.training import fine_tune
from workers.finetuning.wishes import InterruptedRunError, Wish, Wishes


class TrainerHere:
    """Stands where the child process stands; the rest of the run is the real one."""

    starts: list[str] = []  # noqa: RUF012 (one test at a time)

    def __init__(self, run_dir, on_event, *, processes, nice) -> None:
        self._run_dir, self._on_event = run_dir, on_event

    def run(self, wanted) -> Outcome:
        self.starts.append(self._run_dir.name)
        wishes, last = Wishes(), {}

        def emit(event, **fields):
            last.clear()
            last.update(event=event, time=0.0, **fields)
            self._on_event(dict(last))
            wish = wanted()
            if wish is not None:
                wishes.want(wish)

        try:
            fine_tune(RunSpec.read(self._run_dir), self._run_dir, emit, wishes)
        except InterruptedRunError as exc:
            ending = "paused" if exc.wish is Wish.PAUSE else "cancelled"
            return Outcome(ending, 0, {"event": ending, "step": exc.step}, "")
        except DivergedError as exc:
            event = {"event": "failed", "code": exc.code, "message": str(exc), "data": exc.data}
            return Outcome("failed", 70, event, "")
        return Outcome("finished", 0, last, "")

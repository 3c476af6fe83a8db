"""What the nursery of a chaos run has imported before it makes a process; the clock comes first."""

from benchmarks.chaos.clock import install

install()

import benchmarks.chaos.worker  # noqa: E402, F401
import bot.main  # noqa: E402, F401
import workers.finetuning.tasks  # noqa: E402
import workers.main  # noqa: E402
import workers.upkeep.loop  # noqa: E402, F401

"""``perroquet bench fuzz --files 10000 --seed 0``: damaged and hostile uploads, all of preparation.

Each file must end prepared or refused with a :class:`CorpusError`, in little time and memory, and
a refused one must leave nothing behind. What breaks that is kept in a folder and named.
"""

import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fuzz_mutants import Mutant, make_mutant, originals
from workers.finetuning.corpus.errors import CorpusError
from workers.finetuning.corpus.files import CorpusFile
from workers.finetuning.corpus.limits import CorpusLimits
from workers.finetuning.corpus.preparing import PreparationOptions, prepare_corpus

# Small bounds, so that files of a few kilobytes reach them; their rule is the same at any size.
LIMITS = CorpusLimits(
    max_unpacked_bytes=1_000_000, max_line_characters=20_000, ratio_grace_bytes=20_000
)
_FILES, _QUICK_FILES = 10_000, 500
_GOAL_SECONDS = 5.0
_GOAL_MEBIBYTES = 64.0
_PREPARED = "prepared"


@dataclass
class Outcomes:
    """What became of many files.

    Attributes:
        seen: how often each ending was seen: ``prepared``, or the reason of a refusal.
        crashes: number, name and error of files that ended otherwise.
        leftovers: numbers of refused files that left something behind.
        slowest_seconds: of one file.
        grown_mebibytes: how far the process's peak memory rose above that of the first files.
    """

    seen: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    leftovers: list[int] = field(default_factory=list)
    slowest_seconds: float = 0.0
    grown_mebibytes: float = 0.0


def run(*, quick: bool, files: int = 0, seed: int = 0) -> dict[str, Any]:
    """Fuzz the preparation of corpora.

    Args:
        quick: 500 files, where ``files`` is 0.
        files: how many; 0 for 10,000.
        seed: of the mutations.
    """
    count = files or (_QUICK_FILES if quick else _FILES)
    kept = Path(tempfile.mkdtemp(prefix="perroquet-fuzz-"))
    began = time.monotonic()
    found = fuzz(count, seed, kept)
    seconds = time.monotonic() - began
    if not found.crashes:
        shutil.rmtree(kept)
    figures = {
        "files": count,
        "seed": seed,
        "seconds": round(seconds, 1),
        "endings": dict(found.seen.most_common()),
        "crashes": found.crashes,
        "crashed files": str(kept) if found.crashes else "",
    }
    return {
        "figures": figures,
        "goals": [
            _goal("crashes", len(found.crashes), 0, ""),
            _goal("refused files that left something", len(found.leftovers), 0, ""),
            _goal("slowest file", round(found.slowest_seconds, 2), _GOAL_SECONDS, "s"),
            _goal("growth of memory", round(found.grown_mebibytes, 1), _GOAL_MEBIBYTES, "MiB"),
        ],
    }


def fuzz(count: int, seed: int, folder: Path) -> Outcomes:
    """Prepare ``count`` mutants below ``folder``; those that crash stay there."""
    outcomes, valid = Outcomes(), originals()
    for mutant in valid:
        # Models and tables are loaded now, so that only what files cost counts as growth.
        _prepare(mutant, folder, Outcomes(), 0)
    at_first = _begin_peak()
    for number in range(count):
        mutant = make_mutant(seed, number, valid)
        began = time.monotonic()
        _prepare(mutant, folder, outcomes, number)
        outcomes.slowest_seconds = max(outcomes.slowest_seconds, time.monotonic() - began)
    outcomes.grown_mebibytes = _peak_mebibytes() - at_first
    return outcomes


def _prepare(mutant: Mutant, folder: Path, outcomes: Outcomes, number: int) -> None:
    upload, corpus = folder / "upload", folder / "corpus"
    upload.write_bytes(mutant.content)
    try:
        prepare_corpus(
            [CorpusFile(upload, mutant.name)], corpus, options=PreparationOptions(limits=LIMITS)
        )
        outcomes.seen[_PREPARED] += 1
    except CorpusError as exc:
        outcomes.seen[str(exc.data["reason"])] += 1
        if corpus.exists() and any(corpus.iterdir()):
            outcomes.leftovers.append(number)
    except Exception as exc:  # noqa: BLE001 (whatever else is raised is what is looked for)
        where = traceback.extract_tb(exc.__traceback__)[-1]
        outcomes.crashes.append(f"{number} {mutant.name}: {exc!r} in {where.name}:{where.lineno}")
        (folder / f"crash-{number}").write_bytes(mutant.content)
    finally:
        shutil.rmtree(corpus, ignore_errors=True)


def _begin_peak() -> float:
    """Forget the peak so far, where the system lets us; the resident memory now, in MiB."""
    with suppress(OSError):
        # Loading the language model peaks far above what it keeps, which would hide all else.
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_mebibytes()


def _peak_mebibytes() -> float:
    """The largest resident memory since :func:`_begin_peak`, or ever where there is no /proc."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _goal(name: str, value: float, goal: float, unit: str) -> dict[str, Any]:
    return {"name": name, "value": value, "goal": goal, "unit": unit, "met": value <= goal}

"""The folders that jobs have on this host, and their end where no job took them along.

A run folder outlives its process so that the job goes on from its checkpoints. A job that is
cancelled while it waits, fails, or goes to another host leaves it behind, with the state of an
optimizer in it; so does a killed validation.
"""

import re
import shutil
from pathlib import Path

import structlog
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from core.db.engines import reading
from core.db.tables import Job
from core.ids import ID_PATTERN
from core.jobs.states import FINAL_STATES

RUNS = "runs"
VALIDATIONS = "validations"
SWEEP_INTERVAL_SECONDS = 3600.0
_ID = re.compile(ID_PATTERN)

log = structlog.get_logger(__name__)


def sweep_folders(engine: Engine, parent: Path) -> None:
    """Delete the folders below ``parent`` whose job has ended or is gone; each is named by its job.

    Raises:
        SQLAlchemyError: the database cannot be reached.
    """
    if not parent.is_dir():
        return
    folders = {path.name: path for path in parent.iterdir() if _ID.fullmatch(path.name)}
    if not folders:
        return
    with Session(reading(engine)) as session:
        open_jobs = set(
            session.scalars(
                select(Job.id).where(Job.id.in_(folders), Job.state.not_in(FINAL_STATES))
            )
        )
    swept = [path for name, path in folders.items() if name not in open_jobs]
    for path in swept:
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            log.warning("folder_not_swept", path=str(path))
    if swept:
        log.info("folders_swept", parent=parent.name, count=len(swept))

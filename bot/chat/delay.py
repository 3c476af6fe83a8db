"""Why an answer has no words yet, as a member is told."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.exc import SQLAlchemyError

from bot.catalogue import Catalogue
from core.db.desk import Desk
from core.jobs.standing import Standing, find_standing
from core.jobs.states import JobState

# A database that answers later than this is as good as down.
_PATIENCE_SECONDS = 5.0


class Why(StrEnum):
    """Each has its sentence."""

    OUTAGE = "chat-delayed"
    WAITING = "chat-waiting"
    THINKING = "chat-thinking"


@dataclass(frozen=True)
class Delay:
    """Why it is late; ``ahead`` counts the questions that come before one that waits."""

    why: Why
    ahead: int = 0

    def say(self, catalogue: Catalogue, locale: str) -> str:
        """The sentence."""
        if self.why is Why.WAITING:
            return catalogue.say(locale, self.why, ahead=self.ahead)
        return catalogue.say(locale, self.why)


class DelayFinder:
    """Finds out what an answer waits for."""

    def __init__(self, desk: Desk, is_redis_up: Callable[[], bool]) -> None:
        self._desk = desk
        self._is_redis_up = is_redis_up

    async def find(self, job_id: str) -> Delay | None:
        """Why a job has said nothing yet; None where it has ended or is forgotten."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                standing = await self._desk.read(lambda session: find_standing(session, job_id))
        except (SQLAlchemyError, TimeoutError):
            return Delay(Why.OUTAGE)
        return None if standing is None else tell_why(standing, is_redis_up=self._is_redis_up())


def tell_why(standing: Standing, *, is_redis_up: bool) -> Delay:
    """An outage only where a part is away that the answer needs."""
    if not standing.is_attended or not is_redis_up:
        return Delay(Why.OUTAGE)
    if standing.state is JobState.RUNNING:
        return Delay(Why.THINKING)
    return Delay(Why.WAITING, standing.ahead)

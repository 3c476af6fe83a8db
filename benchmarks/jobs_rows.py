"""The rows of a busy installation after thirty days, the same in every run."""

import random
import time
from typing import Any

from core.ids import first_id, new_id
from core.jobs.states import JobKind, JobState

BIG_GUILD = 1
_GUILDS, _MEMBERS, _MODELS = 2000, 20_000, 20
_SPAN_SECONDS = 30 * 86_400.0
_FINETUNE_EVERY, _BAD_EVERY = 499, 151
_WAITING, _RUNNING = 200, 64
_EVENTS = ("started", "evaluated", "checkpointed")


class Rows:
    """Makes each row from its number; the newest have the highest.

    Args:
        count: how many jobs.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._begun_at = time.time() - _SPAN_SECONDS
        self._version_ids = [new_id() for _ in range(_MODELS)]
        self.used_model, self.idle_model = "model-0", f"model-{_MODELS - 1}"

    def guilds(self) -> list[dict[str, Any]]:
        """All guilds."""
        return [{"id": BIG_GUILD + n, "name": f"guild {n}", "locale": "en"} for n in range(_GUILDS)]

    def models(self) -> list[dict[str, Any]]:
        """The operator's models; the last of them never answered."""
        return [
            {"id": version_id, "name": f"model-{n}", "source": "bench", "created_at": 0.0}
            for n, version_id in enumerate(self._version_ids)
        ]

    def versions(self) -> list[dict[str, Any]]:
        """One version of each model, as old as the first job."""
        return [
            {
                "id": version_id,
                "model_id": version_id,
                "number": 1,
                "store_path": f"models/{version_id}",
                "manifest_sha256": "0" * 64,
                "total_bytes": 1,
                "created_at": self._begun_at,
            }
            for version_id in self._version_ids
        ]

    def job(self, number: int) -> dict[str, Any]:
        """One job."""
        at = self._time_of(number)
        kind = self._kind_of(number)
        state = self._state_of(number)
        is_final = state not in (JobState.QUEUED, JobState.RUNNING)
        is_claimed = state is not JobState.QUEUED
        return {
            "id": self._id_of(number),
            "kind": kind,
            "state": state,
            "guild_id": BIG_GUILD if number % 2 else BIG_GUILD + 1 + number // 2 % (_GUILDS - 1),
            "requester_id": number * 7919 % _MEMBERS,
            "payload": self._payload_of(number, kind),
            "result": {"text": "Seeds and fruit. " * 8, "tokens": 40, "finish": "stop"}
            if state is JobState.SUCCEEDED
            else None,
            "error_code": "empty-answer" if state is JobState.FAILED else None,
            "error": "The model ended its turn without a word."
            if state is JobState.FAILED
            else None,
            "token": int(is_claimed),
            "worker_id": f"{kind}-host-{number % 4}" if is_claimed else None,
            "lease_until": at + 1e9 if state is JobState.RUNNING else None,
            "cancel_requested": state is JobState.CANCELLED,
            "dispatched_at": at,
            "created_at": at,
            "started_at": at if is_claimed else None,
            "finished_at": at + 2 if is_final else None,
        }

    def events(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """What happened to a job: fine-tunes have a timeline, answers have none."""
        if job["kind"] is not JobKind.FINETUNE:
            return []
        return [
            {"job_id": job["id"], "at": job["created_at"] + n, "type": kind, "data": {"step": n}}
            for n, kind in enumerate(_EVENTS * 7)
        ]

    def random_id(self, dice: random.Random) -> str:
        """The id of any job."""
        return self._id_of(dice.randrange(self.count))

    def random_finetune(self, dice: random.Random) -> str:
        """The id of a job with events."""
        return self._id_of(dice.randrange(self.count // _FINETUNE_EVERY) * _FINETUNE_EVERY)

    def random_waiting(self, dice: random.Random) -> str:
        """The id of a job that waits in its queue."""
        return self._id_of(self.count - 1 - dice.randrange(_WAITING))

    def random_guild(self, dice: random.Random) -> int:
        """One of the small guilds."""
        return BIG_GUILD + 1 + dice.randrange(_GUILDS - 1)

    def random_member(self, dice: random.Random) -> int:
        """Somebody."""
        return dice.randrange(_MEMBERS)

    def _id_of(self, number: int) -> str:
        return first_id(self._time_of(number))[:10] + f"{number:010}"

    def _time_of(self, number: int) -> float:
        return self._begun_at + _SPAN_SECONDS * number / self.count

    def _kind_of(self, number: int) -> JobKind:
        return JobKind.GENERATE if number % _FINETUNE_EVERY else JobKind.FINETUNE

    def _state_of(self, number: int) -> JobState:
        from_end = self.count - number
        if from_end <= _WAITING:
            return JobState.QUEUED
        if from_end <= _WAITING + _RUNNING:
            return JobState.RUNNING
        if number % _BAD_EVERY == 0:
            return JobState.FAILED if number // _BAD_EVERY % 2 else JobState.CANCELLED
        return JobState.SUCCEEDED

    def _payload_of(self, number: int, kind: JobKind) -> dict[str, Any]:
        if kind is JobKind.FINETUNE:
            return {"model": f"tune-{number % 50}", "base_name": self.used_model, "options": {}}
        # The first model answers nine times of ten, the last one never.
        used = 0 if number % 10 else number // 10 % (_MODELS - 1)
        return {
            "conversation_id": "0" * 20,
            "message_id": number,
            "version_id": self._version_ids[used],
            "sampling": {},
            "stream": "bot-0",
        }

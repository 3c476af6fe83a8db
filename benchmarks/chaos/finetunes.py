"""The fine-tunes of a chaos run: asked for as admins do, read by upkeep, trained, judged."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.tiny_tokenizer import make_tiny_tokenizer
from core.catalog.disposal import dead_paths
from core.catalog.registry import StoredVersion, register_version
from core.conversations.places import Place
from core.corpora.submissions import NewFinetune, start_finetune, submit_finetune
from core.corpora.uploads import Uploads
from core.db.engines import reading
from core.db.tables import Board, Job, Version
from core.errors import PerroquetError, ServiceUnavailableError
from core.ids import new_id
from core.jobs.outbox import ERROR_CODE_CRASHED
from core.jobs.states import JobState
from core.settings import Settings
from models_store.store import ModelStore
from playground import cast
from playground.server import PlaygroundServer

BOARDS = "4999"
_BASE = "tiny"
_CHECKPOINTS = 8
_OPTIONS = {
    "method": "full",
    "block_size": 64,
    "batch_size": 4,
    "micro_batch_size": 4,
    "patience": 0,
    "sample_max_new_tokens": 2,
    "torch_threads": 1,
}
_PAIRS = "\n".join(
    json.dumps({"prompt": f"Colour {n} of {chr(97 + n % 26) * 3}?", "completion": f"It is {n * 7}"})
    for n in range(40)
)


@dataclass
class Finetunes:
    """Asks for fine-tunes and starts each once its corpus is read. Everything here may be late:
    what cannot be done now is done the next time. Its functions block.
    """

    engine: Engine
    settings: Settings
    server: PlaygroundServer
    folder: Path
    steps: int
    wanted: int = 0
    doomed: set[str] = field(default_factory=set)
    job_ids: list[str] = field(default_factory=list)
    _wants_doomed: bool = False

    def __post_init__(self) -> None:
        channel = cast.channel(BOARDS, cast.PERROQUET_GUILD, "boards")
        self.server.world.channels[BOARDS] = channel
        url, cache = self.settings.store_url, self.folder / "operator"
        self._store = ModelStore(url, cache, 10**9)
        self._uploads = Uploads(url)

    def prepare(self) -> None:
        """Publish a base of a few thousand weights."""
        base = self.folder / "base"
        tokenizer = make_tiny_tokenizer()
        config = GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=128,
            n_embd=32,
            n_layer=1,
            n_head=2,
            bos_token_id=0,
            eos_token_id=0,
        )
        GPT2LMHeadModel(config).save_pretrained(base)
        tokenizer.save_pretrained(base)
        stored = self._store.publish(base, f"models/{_BASE}/1", {})
        with Session(self.engine) as session, session.begin():
            self._base_id = register_version(
                session,
                model=_BASE,
                guild_id=None,
                source="bench",
                stored=StoredVersion(stored.path, stored.manifest_sha256, stored.total_bytes, {}),
            )

    def want(self, *, is_doomed: bool = False) -> None:
        """Ask for one more with the next ``tend``."""
        self.wanted += not is_doomed
        self._wants_doomed = self._wants_doomed or is_doomed

    def tend(self) -> None:
        """Submit what is wanted and start what was read."""
        try:
            if self._wants_doomed:
                self.doomed.add(self._submit())
                self._wants_doomed = False
            if len(self.job_ids) - len(self.doomed) < self.wanted:
                self._submit()
            self._start()
        except (OperationalError, ServiceUnavailableError):
            # The database or the store is away; the next time comes soon.
            return

    def running(self) -> set[str]:
        """The doomed ones that are not ended."""
        return self.doomed & self._open()

    def are_ended(self) -> bool:
        """Whether each that was wanted has ended and its board is closed."""
        is_complete = not self._wants_doomed and len(self.job_ids) - len(self.doomed) >= self.wanted
        return is_complete and not self._open() and not self._open_boards()

    def judge(self) -> list[str]:
        """What is wrong with the fine-tunes, their versions and their boards."""
        wrong = []
        with Session(reading(self.engine)) as session:
            jobs = {job.id: job for job in session.scalars(select(Job))}
            versions = session.scalars(select(Version).where(Version.job_id.is_not(None))).all()
        for job_id in self.job_ids:
            job, made = jobs[job_id], [v for v in versions if v.job_id == job_id]
            if job_id in self.doomed:
                if (job.state, job.error_code) != (JobState.FAILED, ERROR_CODE_CRASHED) or made:
                    wrong.append(f"the doomed fine-tune {job_id} is {job.state} {job.error_code}")
            elif job.state != JobState.SUCCEEDED or len(made) != 1:
                wrong.append(f"fine-tune {job_id} is {job.state} {job.error}, {len(made)} versions")
        wrong += [found for version in versions if (found := self._verify(version))]
        return wrong + self._judge_store({v.store_path for v in versions}) + self._judge_boards()

    def _submit(self) -> str:
        corpus_id = new_id()
        writer = self._uploads.open(corpus_id, 0)
        writer.write(_PAIRS.encode())
        new = NewFinetune(
            place=Place(int(BOARDS), int(cast.PERROQUET_GUILD), "Perroquet"),
            requester_id=int(cast.CAMILLE),
            model=f"coco-{len(self.job_ids)}",
            base_version_id=self._base_id,
            base_name=_BASE,
            options={
                **_OPTIONS,
                "max_steps": self.steps,
                "evaluate_every": self.steps,
                "save_every": max(1, self.steps // _CHECKPOINTS),
            },
            corpus_id=corpus_id,
            files=(writer.finish("pairs.jsonl"),),
            process_name=self.settings.discord.process_name,
            locale="en",
        )
        with Session(self.engine) as session, session.begin():
            job_id = submit_finetune(session, new).job_id
        self.job_ids.append(job_id)
        return job_id

    def _start(self) -> None:
        with Session(self.engine) as session, session.begin():
            waiting = session.execute(
                select(Job.id, Job.payload).where(
                    Job.id.in_(self.job_ids), Job.state == JobState.VALIDATING
                )
            ).all()
            for job in waiting:
                if "corpus_path" in job.payload:
                    start_finetune(session, job.id)

    def _open(self) -> set[str]:
        with Session(reading(self.engine)) as session:
            rows = session.execute(select(Job.id, Job.state).where(Job.id.in_(self.job_ids)))
            return {row.id for row in rows if not JobState(row.state).is_final}

    def _open_boards(self) -> list[str]:
        with Session(reading(self.engine)) as session:
            return list(session.scalars(select(Board.job_id).where(Board.closed_at.is_(None))))

    def _verify(self, version: Version) -> str | None:
        try:
            self._store.verify(version.store_path, version.manifest_sha256)
        except PerroquetError as exc:
            return f"version {version.store_path}: {exc}"
        return None

    def _judge_store(self, known: set[str]) -> list[str]:
        """What stands in the store is a version, or what a lost attempt left to be collected."""
        stored = {path for path in self._store.list_versions() if path.startswith("models/coco-")}
        with Session(reading(self.engine)) as session:
            dead = dead_paths(session, stored)
        wrong = [f"{path} is garbage and a version" for path in dead & known]
        return wrong + [f"{path} is nobody's" for path in stored - known - dead]

    def _judge_boards(self) -> list[str]:
        shown = [
            message
            for message in self.server.world.history(BOARDS, cast.CAMILLE)
            if message["author"]["id"] == cast.BOT_ID
        ]
        if len(shown) != len(self.job_ids):
            return [f"{len(self.job_ids)} fine-tunes have {len(shown)} boards"]
        return []

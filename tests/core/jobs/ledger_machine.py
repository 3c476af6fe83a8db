"""The deeds of workers, people and upkeep, done to the ledger and to a plain model of it."""

from collections import Counter
from random import Random

import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db.engines import reading
from core.db.tables import Job, JobEvent
from core.errors import CancelledJobError, InvalidInputError, LeaseLostError
from core.jobs.admission import admit, refuse
from core.jobs.ledger import (
    Claim,
    NewJob,
    claim,
    confirm_cancel,
    fail,
    is_set_apart,
    record_held,
    release,
    renew,
    report_progress,
    request_cancel,
    submit,
    succeed,
)
from core.jobs.outbox import mark_dispatched, never_sent, reap, sent_long_ago
from core.jobs.states import FINAL_STATES, JobKind
from core.jobs.steering import pause, resume
from tests.core.jobs.ledger_model import Laws, ModelJob, seen

# Time moves in steps that no test run lasts; spans end between two steps.
STEP_SECONDS = 10_000.0
LEASE_STEPS, GRACE_STEPS, AGE_STEPS = 2.5, 1.5, 1.5
MAX_CRASHES, ALONE = 4, 2
ALL_ROWS = select(*Job.__table__.columns)
WORKERS = ["a", "b", "c"]
LIKELY = 0.75
MAX_OPEN_JOBS = 3


class LedgerMachine(RuleBasedStateMachine):
    """The ledger on one database and the model, side by side."""

    def __init__(self, engine):
        super().__init__()
        self.engine = engine
        self.model: dict[str, ModelJob] = {}
        self.claims: list[Claim] = []
        self.laws = Laws()
        self.now = 0
        self.is_reaping = self.is_saving = False
        self.run(lambda s: [s.execute(delete(table)) for table in (JobEvent, Job)])

    @property
    def all_ids(self):
        return sorted(self.model)

    @property
    def open_ids(self):
        return [i for i in self.all_ids if self.model[i].state not in FINAL_STATES]

    @property
    def live_claims(self):
        return [held for held in self.claims if self.holds(held)]

    @property
    def stale_claims(self):
        """Claims on jobs that another claim holds by now: those that the fence is for."""
        running = [h for h in self.claims if self.model[h.job_id].state == "running"]
        return [held for held in running if not self.holds(held)]

    def run(self, function, *arguments, **named):
        with Session(self.engine) as session, session.begin():
            return function(session, *arguments, **named)

    @initialize()
    def begin(self):
        self.add("queued")

    @rule(seed=st.integers(0, 2**32 - 1))
    def something_happens(self, seed):
        """One deed, its kind and its object drawn from a seed.

        As rules of their own, most deeds would meet nothing that they can change: of a thousand
        steps twenty were writes under a claim.
        """
        rng = Random(seed)  # noqa: S311 - nothing is secret here
        deeds = {
            self.submit: 3 * (len(self.open_ids) < MAX_OPEN_JOBS),
            self.ask: 4,
            self.claim: 6,
            self.renew: 2,
            self.write: 8 * bool(self.claims),
            self.pass_time: 4,
            self.mark_dispatched: 2,
        }
        (deed,) = rng.choices(list(deeds), list(deeds.values()))
        note(f"{deed.__name__}: {deed(rng)}")

    def one(self, rng, likely, everything):
        """Mostly something that can still change, at times what cannot."""
        return rng.choice(likely if likely and rng.random() < LIKELY else everything)

    # What people and the bot do.

    def submit(self, rng):
        self.add(rng.choice(["queued", "queued", "validating"]))

    def add(self, state):
        job_id = self.run(submit, NewJob(JobKind.GENERATE, 1, {}), state)
        self.model[job_id] = ModelJob(state, self.now)

    def ask(self, rng):
        job_id = self.one(rng, self.open_ids, self.all_ids)
        deed = rng.choice([self.validate, self.request_cancel, self.pause_or_resume])
        deed(job_id)
        return deed.__name__, job_id

    def validate(self, job_id):
        is_good = self.now % 3 > 0
        job = self.model[job_id]
        was_validating = job.state == "validating"
        if is_good:
            assert self.run(admit, job_id) == was_validating
        else:
            assert self.run(refuse, job_id, "x", "x", {}) == was_validating
        if was_validating:
            job.state = "queued" if is_good else "failed"
            job.result = None if is_good else {"error_data": {}}

    def request_cancel(self, job_id):
        job = self.model[job_id]
        if job.state in ("validating", "queued"):
            job.state, job.is_cancel_asked = "cancelled", True
        elif job.state == "running" and not job.is_cancel_asked:
            job.is_cancel_asked = True
            job.events["cancel_requested"] += 1
        assert self.run(request_cancel, job_id) == job.state

    def pause_or_resume(self, job_id):
        job = self.model[job_id]
        can = job.state in ("queued", "running") and not job.is_cancel_asked
        assert self.run(resume, job_id) == (can and job.is_paused)
        if job.is_paused:
            job.sent = None if can else job.sent
            job.events["resumed"] += can
        else:
            assert self.run(pause, job_id) == can
            job.events["pause_requested"] += can
        job.is_paused ^= can

    # What workers do, also those that lost their lease and do not know it yet.

    def claim(self, rng):
        waiting = [i for i in self.all_ids if self.model[i].state == "queued"]
        job_id = self.one(rng, waiting, self.all_ids)
        worker, may_be_alone = rng.choice(WORKERS), rng.random() < LIKELY
        job = self.model[job_id]
        is_set_apart_now = job.state == "queued" and job.crashes >= ALONE
        assert self.run(is_set_apart, job_id, ALONE) == is_set_apart_now
        limits = {} if may_be_alone else {"crashes_below": ALONE}
        can = job.state == "queued" and not job.is_paused
        can = can and (may_be_alone or job.crashes < ALONE)
        lease = LEASE_STEPS * STEP_SECONDS
        taken = self.run(claim, job_id, worker, lease, **limits)
        assert (taken is not None) == can
        if taken is None:
            return job_id, None
        job.state, job.worker, job.token = "running", worker, job.token + 1
        job.lease_ends = self.now + LEASE_STEPS
        assert (taken.token, taken.crashes) == (job.token, job.crashes)
        self.claims.append(taken)
        return taken

    def renew(self, rng):
        worker, job_ids = rng.choice(WORKERS), rng.choices(self.all_ids, k=4)
        held = {i: self.model[i] for i in job_ids if self.is_of(i, worker)}
        renewals = self.run(renew, worker, LEASE_STEPS * STEP_SECONDS, job_ids)
        assert {(r.job_id, r.token, r.cancel_requested) for r in renewals} == {
            (job_id, job.token, job.is_cancel_asked) for job_id, job in held.items()
        }
        for job in held.values():
            job.lease_ends = self.now + LEASE_STEPS

    def write(self, rng):
        """Write under a claim; the fence must let through what the model says and no more."""
        held = self.one(rng, self.live_claims, self.stale_claims or self.claims)
        deed = rng.choice(["tell", "save", "succeed", "fail", "release", "confirm"])
        job = self.model[held.job_id]
        change, *arguments = {
            "tell": (report_progress, {"step": self.now}),
            "save": (_save,),
            "succeed": (succeed, {"by": held.token}),
            "fail": (fail, InvalidInputError("x")),
            "release": (release,),
            "confirm": (confirm_cancel,),
        }[deed]
        refusal = self.refusal(held, deed)
        if refusal is not None:
            with pytest.raises(refusal):
                self.run(change, held, *arguments)
            return deed, held, refusal
        self.run(change, held, *arguments)
        if deed == "tell":
            job.result = {"progress": {"step": self.now}}
        elif deed == "save":
            job.crashes, self.is_saving = 0, True
            job.events["checkpointed"] += 1
        elif deed == "release":
            job.leave_running("queued")
            job.worker = job.sent = None
            job.events["released"] += 1
        else:
            states = {"succeed": "succeeded", "fail": "failed", "confirm": "cancelled"}
            results = {"succeed": {"by": held.token}, "fail": {"error_data": {}}}
            job.leave_running(states[deed], results.get(deed))
        return deed, held

    def refusal(self, held, deed):
        """What the ledger must answer to who may not write."""
        is_asked = self.model[held.job_id].is_cancel_asked
        if not self.holds(held):
            return LeaseLostError
        if deed == "succeed" and is_asked:
            return CancelledJobError
        if deed == "confirm" and not is_asked:
            return IntegrityError
        return None

    def is_of(self, job_id, worker):
        job = self.model[job_id]
        return (job.state, job.worker) == ("running", worker)

    def holds(self, held):
        job = self.model[held.job_id]
        return (job.state, job.token) == ("running", held.token)

    # What upkeep and time do.

    def pass_time(self, rng):
        self.move_time(steps := rng.randint(1, 3))
        if is_reaped := rng.random() < LIKELY:
            self.reap()
        return steps, is_reaped

    def move_time(self, steps):
        self.now += steps
        seconds = steps * STEP_SECONDS
        columns = (Job.lease_until, Job.dispatched_at, Job.created_at)
        self.run(lambda s: s.execute(update(Job).values({c: c - seconds for c in columns})))

    def reap(self):
        self.is_reaping = True
        expected: dict[str, set[str]] = {"queued": set(), "failed": set(), "cancelled": set()}
        for job_id, job in self.model.items():
            if job.state == "running" and job.lease_ends < self.now:
                job.crashes += 1
                job.leave_running("failed" if job.crashes >= MAX_CRASHES else "queued")
                job.worker = job.sent = None
                job.events["lease_expired"] += 1
                expected[job.state].add(job_id)
        reaped = self.run(reap, max_crashes=MAX_CRASHES)
        found = {"queued": reaped.requeued, "failed": reaped.failed, "cancelled": reaped.cancelled}
        assert {state: set(ids) for state, ids in found.items()} == expected

    def mark_dispatched(self, rng):
        job_ids = rng.choices(self.all_ids, k=2)
        self.run(mark_dispatched, job_ids)
        for job in (self.model[job_id] for job_id in job_ids):
            if job.state == "queued":
                job.sent = self.now

    # What must hold after each of these.

    @invariant()
    def the_ledger_is_as_the_model_says_and_no_law_is_broken(self):
        with Session(reading(self.engine)) as session:
            self.check_outbox(session)
            rows = {row.id: row for row in session.execute(ALL_ROWS)}
        assert {job_id: seen(row) for job_id, row in rows.items()} == {
            job_id: job.row for job_id, job in self.model.items()
        }
        self.laws.check(rows, is_reaping=self.is_reaping, is_saving=self.is_saving)
        self.is_reaping = self.is_saving = False

    def check_outbox(self, session):
        """What waits is owed, and nothing else."""
        owed = {i: j for i, j in self.model.items() if j.state == "queued" and not j.is_paused}
        never = [
            job_id
            for job_id, job in owed.items()
            if job.sent is None and (job.token > 0 or job.born + GRACE_STEPS < self.now)
        ]
        old = [i for i, j in owed.items() if j.sent is not None and j.sent + AGE_STEPS < self.now]
        grace, age = GRACE_STEPS * STEP_SECONDS, AGE_STEPS * STEP_SECONDS
        found_never = never_sent(session, grace_seconds=grace, limit=99)
        found_old = sent_long_ago(session, age_seconds=age, limit=99)
        assert [hint.job_id for hint in found_never] == sorted(never)
        assert [hint.job_id for hint in found_old] == sorted(old)

    def teardown(self):
        """Let all that is left be settled: whatever happened, each job can come to an end."""
        self.move_time(3)
        self.reap()
        for job_id, job in self.model.items():
            self.validate(job_id)
            if job.is_paused:
                self.pause_or_resume(job_id)
            if job.state == "queued":
                taken = self.run(claim, job_id, "last", 1.0)
                assert taken is not None, "nobody can claim what waits"
                self.run(succeed, taken, {})
        states = self.run(lambda s: set(s.scalars(select(Job.state))))
        assert states <= FINAL_STATES
        events = self.run(lambda s: s.execute(select(JobEvent.job_id, JobEvent.type)).all())
        expected = Counter({(i, t): n for i, j in self.model.items() for t, n in j.events.items()})
        assert Counter((row.job_id, row.type) for row in events) == expected


def _save(session, held):
    record_held(session, held, "checkpointed", is_progress=True)

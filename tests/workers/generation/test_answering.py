from types import SimpleNamespace

import pytest
from sqlalchemy import insert
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from core.catalog.registry import StoredVersion, register_version
from core.conversations.intake import IncomingMessage, ReplyOptions, receive
from core.conversations.places import Place
from core.conversations.texts import NewText, submit_text
from core.db.desk import Desk
from core.db.tables import Message, Model, Version
from core.errors import CancelledJobError, InvalidInputError, LeaseLostError
from core.ids import new_id
from core.settings import ChatSettings, GenerationSettings
from tests.workers.ledger_helpers import claim_job, read_job
from workers.generation.answering import Answerer, EmptyAnswerError, TooLateError
from workers.generation.protocol import (
    Chunk,
    EngineLostError,
    FinishReason,
    GenerationFailedError,
    GenerationStream,
    Standing,
    TokenLogprobs,
)
from workers.generation.serving import Ask, ModelPool
from workers.leases import HeldJob, StopReason

NOT_A_WORD = Chunk(" \n ", 3, FinishReason.STOP)


class Script:
    """A responder that says what a test wrote down, and remembers what it was asked.

    One that holds its tongue at first ends that many answers without a word.
    """

    def __init__(self, *chunks: Chunk, silent: int = 0) -> None:
        self._chunks = chunks
        self._silent = silent
        self.asked: list[Ask] = []
        self.cancelled = 0

    def ask(self, ask):
        self.asked.append(ask)
        stream = GenerationStream(self._cancel)
        is_silent = len(self.asked) <= self._silent
        for chunk in [NOT_A_WORD] if is_silent else self._chunks:
            stream.put(chunk)
        return stream

    is_alive = True
    holds_weights = True

    def describe(self):
        return {}

    def close(self) -> None:
        pass

    def _cancel(self) -> None:
        self.cancelled += 1


@pytest.fixture
def desk(engine):
    desk = Desk(engine)
    desk.start()
    yield desk
    desk.close()


@pytest.fixture
def version_id(engine):
    model_id, version_id = new_id(), new_id()
    with Session(engine) as session, session.begin():
        session.execute(insert(Model).values(id=model_id, name="tiny", source="test"))
        session.execute(
            insert(Version).values(
                id=version_id,
                model_id=model_id,
                number=1,
                store_path="models/tiny/1",
                manifest_sha256="0" * 64,
                total_bytes=1,
            )
        )
    return version_id


def ask(engine, text="hello", **sampling) -> HeldJob:
    """A member's message as a claimed job."""
    message = IncomingMessage(Place(5, 7, "Guild"), None, 1, "Alice", text)
    with Session(engine) as session, session.begin():
        job_id = receive(session, message, ReplyOptions("tiny", "bot-0", sampling))
    return HeldJob(claim_job(engine, job_id), deadline=1e12)


def answerer(desk, script, **settings):
    written = []
    streams = SimpleNamespace(write=lambda name, entry: written.append((name, entry)))
    pool = ModelPool(lambda path: script, 1)
    generation = GenerationSettings(**settings)
    return Answerer(desk, pool, streams, generation, ChatSettings()), written


def answer(subject, engine, held) -> None:
    """What a runner does with a claimed job: brief, then work."""
    with Session(engine) as session:
        held.brief = subject.brief(session, held.claim)
    subject.answer(held)


def test_an_answer_is_streamed_and_written_down_trimmed(engine, desk, version_id):
    script = Script(
        Chunk(" ", 1), Chunk(" Hi", 2), Chunk(" you", 3), Chunk(" \n", 4, FinishReason.STOP)
    )
    held = ask(engine)
    subject, written = answerer(desk, script)
    answer(subject, engine, held)
    job = read_job(engine, held.claim.job_id)
    assert (job.state, job.result["text"]) == ("succeeded", "Hi you")
    assert (job.result["tokens"], job.result["finish"]) == (4, "stop")
    assert job.result["version_id"] == version_id
    assert [(name, e.offset, e.text) for name, e in written] == [("bot-0", 0, "Hi you \n")]
    with Session(engine) as session:
        said = session.query(Message).order_by(Message.id).all()
        assert [(m.role, m.content) for m in said] == [("user", "hello"), ("assistant", "Hi you")]


def test_a_text_is_kept_to_its_last_space_and_belongs_to_no_conversation(engine, desk, version_id):
    script = Script(Chunk(" York", 1), Chunk(" City \n", 2, FinishReason.STOP))
    with Session(engine) as session, session.begin():
        new = NewText("Welcome to New", version_id, {"temperature": 0.0})
        job_id = submit_text(session, new)
    held = HeldJob(claim_job(engine, job_id), deadline=1e12)
    subject, written = answerer(desk, script)
    answer(subject, engine, held)
    subject.announce_end(held.claim)
    assert read_job(engine, job_id).result["text"] == " York City \n"
    assert not written, "nobody watches it"
    assert [(u.role, u.text) for u in script.asked[0].utterances] == [("text", "Welcome to New")]
    with Session(engine) as session:
        assert not session.query(Message).count()


def test_how_likely_tokens_were_is_kept_as_json_has_it_and_is_not_logged(engine, desk, version_id):
    rare = TokenLogprobs("ra\0re", -0.12345, (("usual", -0.1), ("nothing", float("-inf"))))
    script = Script(Chunk("rare", 1, FinishReason.STOP, logprobs=(rare,)))
    held = ask(engine, logprobs=2)
    subject, _ = answerer(desk, script)
    with capture_logs() as lines:
        answer(subject, engine, held)
    (kept,) = read_job(engine, held.claim.job_id).result["logprobs"]
    assert (kept["token"], kept["logprob"]) == ("rare", -0.1235)
    assert [one["logprob"] for one in kept["likeliest"]] == [-0.1, -9999.0]
    assert "answered" in [line["event"] for line in lines]
    assert "usual" not in repr(lines)


def test_a_text_may_end_at_once(engine, desk, version_id):
    with Session(engine) as session, session.begin():
        job_id = submit_text(session, NewText("The end.", version_id, {}))
    held = HeldJob(claim_job(engine, job_id), deadline=1e12)
    subject, _ = answerer(desk, Script(Chunk("", 0, FinishReason.STOP)))
    answer(subject, engine, held)
    assert read_job(engine, job_id).result["text"] == ""


def test_what_postgresql_cannot_keep_is_left_out(any_engine):
    desk = Desk(any_engine)
    desk.start()
    with Session(any_engine) as session, session.begin():
        register_version(
            session,
            model="tiny",
            guild_id=None,
            source="test",
            stored=StoredVersion("models/tiny/1", "0" * 64, 1, {}),
        )
    held = ask(any_engine)
    subject, _ = answerer(desk, Script(Chunk("\0Hi\0 you", 2, FinishReason.STOP)))
    answer(subject, any_engine, held)
    desk.close()
    assert read_job(any_engine, held.claim.job_id).result["text"] == "Hi you"


def test_the_whole_conversation_is_given_to_the_model(engine, desk, version_id):
    script = Script(Chunk("Hi", 1, FinishReason.STOP))
    subject, _ = answerer(desk, script)
    answer(subject, engine, ask(engine, "one"))
    answer(subject, engine, ask(engine, "two"))
    utterances = script.asked[-1].utterances
    assert [(u.role, u.name, u.text) for u in utterances] == [
        ("user", "Alice", "one"),
        ("assistant", "Perroquet", "Hi"),
        ("user", "Alice", "two"),
    ]


def test_a_job_may_override_the_workers_sampling_and_keeps_its_seed(engine, desk, version_id):
    script = Script(Chunk("Hi", 1, FinishReason.STOP))
    subject, _ = answerer(desk, script, temperature=0.4, top_k=9)
    held = ask(engine, temperature=0.0, stop=["x"])
    answer(subject, engine, held)
    sampling = script.asked[-1].sampling
    assert (sampling.temperature, sampling.top_k, sampling.stop) == (0.0, 9, ("x",))
    assert sampling.seed == subject._sampling(held, SimpleNamespace(sampling={})).seed


def test_sampling_out_of_range_fails_the_job_not_the_worker(engine, desk, version_id):
    subject, _ = answerer(desk, Script())
    with pytest.raises(InvalidInputError):
        answer(subject, engine, ask(engine, temperature=-1.0))


def test_an_answer_without_a_word_is_asked_for_again_and_urged(engine, desk, version_id):
    script = Script(Chunk("Hi", 2, FinishReason.STOP), silent=2)
    subject, written = answerer(desk, script)
    held = ask(engine)
    answer(subject, engine, held)
    assert read_job(engine, held.claim.job_id).result["text"] == "Hi"
    assert [(entry.offset, entry.text) for _, entry in written] == [(0, "Hi")]
    first = script.asked[0].sampling.seed
    urged = [(asked.sampling.seed, asked.sampling.min_new_tokens) for asked in script.asked]
    assert urged == [(first, 0), (first + 1, 3), (first + 2, 3)]
    assert subject.generated_tokens == 3 + 3 + 2


def test_a_model_that_says_nothing_at_all_is_an_error(engine, desk, version_id):
    script = Script(silent=9)
    subject, written = answerer(desk, script)
    with pytest.raises(EmptyAnswerError):
        answer(subject, engine, ask(engine, max_new_tokens=2))
    assert [asked.sampling.min_new_tokens for asked in script.asked] == [0, 2, 2, 2]
    assert written == []


def test_an_engines_failure_is_the_jobs(engine, desk, version_id):
    failed = Chunk("", 0, FinishReason.ERROR, GenerationFailedError("boom"))
    subject, _ = answerer(desk, Script(failed))
    with pytest.raises(GenerationFailedError):
        answer(subject, engine, ask(engine))


def test_an_engine_that_breaks_down_leaves_its_jobs_to_the_reaper(engine, desk, version_id):
    lost = Chunk("", 1, FinishReason.ERROR, EngineLostError("It broke down."))
    held = ask(engine)
    subject, _ = answerer(desk, Script(Chunk("Hi", 1), lost))
    with pytest.raises(LeaseLostError):
        answer(subject, engine, held)
    assert read_job(engine, held.claim.job_id).state == "running"


def test_a_job_that_must_stop_cancels_its_answer(engine, desk, version_id):
    script = Script(Chunk("Hi", 1), Chunk(" you", 2, FinishReason.STOP))
    subject, _ = answerer(desk, script)
    held = ask(engine)
    ask_before = script.ask

    def stop_while_answering(*arguments):
        stream = ask_before(*arguments)
        held.stop(StopReason.CANCELLED)
        return stream

    script.ask = stop_while_answering
    with pytest.raises(CancelledJobError):
        answer(subject, engine, held)
    assert script.cancelled >= 1
    assert read_job(engine, held.claim.job_id).state == "running"


def test_the_end_is_announced_to_the_bot_process(engine, desk, version_id):
    held = ask(engine)
    subject, written = answerer(desk, Script())
    subject.announce_end(held.claim)
    ((name, entry),) = written
    assert (name, entry.job_id, entry.is_end) == ("bot-0", held.claim.job_id, True)


def test_a_request_stands_in_its_guilds_queue(engine, desk, version_id):
    script = Script(Chunk("Hi", 1, FinishReason.STOP))
    subject, _ = answerer(desk, script, answer_max_seconds=7)
    answer(subject, engine, ask(engine))
    assert script.asked[-1].standing == Standing(flow=7, priority=0, max_seconds=7)


def test_an_answer_that_did_not_begin_in_time_says_so(engine, desk, version_id):
    subject, _ = answerer(desk, Script(Chunk("", 0, FinishReason.DEADLINE)))
    with pytest.raises(TooLateError):
        answer(subject, engine, ask(engine))

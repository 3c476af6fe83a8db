"""What an admin and a worker do to a fine-tune, over the wire."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.catalog.registry import StoredVersion, register_version
from core.corpora.submissions import PreparedCorpus, accept_corpus
from core.corpora.uploads import Uploads
from core.db.tables import Corpus, Job
from core.jobs.events import record
from core.jobs.ledger import claim, fail, report_progress, succeed
from core.jobs.states import JobKind
from playground import cast
from playground.interactions import COMMAND, COMPONENT, MODAL
from playground.rest.bodies import Body, keep_files
from tests.bot.wire import eventually
from workers.finetuning.corpus.report import CorpusReport, SplitCount

ATTACHMENT, STRING, BOOLEAN, NUMBER, INTEGER, ROLE = 11, 3, 5, 10, 4, 8
_LOADING = 128
PAIRS = b'{"prompt": "Who are you?", "completion": "Coco!"}\n' * 12


def attach(wire, channel: str, *files: tuple[str, bytes]) -> list[dict]:
    """Put files where Discord would keep them; returns their attachments."""
    return keep_files(wire.world, wire.server.base, channel, Body({}, dict(enumerate(files))))


async def use(wire, user: str, name: str, path: str, options, attachments=(), **more) -> dict:
    """Use a slash command; returns the bot's answer once it is no longer loading."""
    channel, locale = more.get("channel", cast.GENERAL), more.get("locale", "en-US")
    await eventually(lambda: bool(wire.world.commands))
    command = next(c for c in wire.world.commands if c["name"] == name)
    data = {
        "id": command["id"],
        "name": name,
        "type": 1,
        "options": [{"name": path, "type": 1, "options": list(options)}],
        "resolved": {
            "attachments": {a["id"]: a for a in attachments},
            "roles": more.get("roles", {}),
        },
    }
    pending = wire.server.interactions.begin(COMMAND, user, channel, data, locale=locale)
    await eventually(lambda: pending.original_id is not None)
    answer: list[dict] = []

    def is_answered() -> bool:
        # What went wrong is told to one member in a message of its own, once "is thinking", which
        # all would see, was deleted.
        since = int(pending.original_id)
        answer[:] = [m for m in wire.world.history(channel, user) if int(m["id"]) >= since][:1]
        return bool(answer) and not answer[0]["flags"] & _LOADING

    await eventually(is_answered)
    return answer[0]


async def start(wire, *files, user: str = cast.CAMILLE, rights: bool = True, **more) -> dict:
    """Use ``/finetune start`` with these files (name and content, or whole attachments)."""
    channel = more.get("channel", cast.GENERAL)
    attachments = [f if isinstance(f, dict) else attach(wire, channel, f)[0] for f in files]
    names = ["file", "file2", "file3", "file4", "file5"]
    options = [
        {"name": name, "type": ATTACHMENT, "value": attachment["id"]}
        for name, attachment in zip(names, attachments, strict=False)
    ]
    options.append({"name": "name", "type": STRING, "value": more.pop("name", "Coco")})
    options.append({"name": "rights", "type": BOOLEAN, "value": rights})
    options += more.pop("options", [])
    attachments += more.pop("resolved", [])
    return await use(wire, user, "finetune", "start", options, attachments, **more)


async def press(wire, user: str, message: dict, label: str, locale: str = "en-US"):
    """Press a button of a message; returns the interaction."""
    buttons = [b for row in message["components"] for b in row["components"]]
    found = next(b["custom_id"] for b in buttons if b["label"] == label)
    return await press_id(wire, user, message, found, locale)


async def press_id(wire, user: str, message: dict, custom_id: str, locale: str = "en-US"):
    """Press a button by its custom id."""
    pending = wire.server.interactions.begin(
        COMPONENT,
        user,
        message["channel_id"],
        {"component_type": 2, "custom_id": custom_id},
        locale=locale,
        source=message,
    )
    await eventually(lambda: pending.is_acknowledged)
    return pending


def board(wire, channel: str = cast.GENERAL) -> dict | None:
    """The newest message with an embed that everybody sees."""
    for message in reversed(wire.world.messages.get(channel, {}).values()):
        if message["embeds"] and not message["flags"] & 64:
            return message
    return None


def title(wire, channel: str = cast.GENERAL) -> str:
    """What the board says it is."""
    found = board(wire, channel)
    return found["embeds"][0]["title"] if found else ""


def text_of(message: dict) -> str:
    """Everything that an embed says."""
    embed = message["embeds"][0]
    fields = "\n".join(f"{f['name']}: {f['value']}" for f in embed.get("fields", []))
    return f"{embed['title']}\n{embed.get('description', '')}\n{fields}"


def labels(message: dict) -> list[str]:
    """The labels of its buttons."""
    return [b["label"] for row in message["components"] for b in row["components"]]


def whispers(wire, user: str, channel: str = cast.GENERAL) -> list[str]:
    """What only this person was told; a deferred answer counts once it says something."""
    return [
        m["content"]
        for m in wire.world.messages.get(channel, {}).values()
        if m.get("only_user_id") == user and m["content"]
    ]


def jobs(wire, kind: JobKind) -> list[Job]:
    """All jobs of a kind, oldest first."""
    with Session(wire.engine, expire_on_commit=False) as session:
        return list(session.scalars(select(Job).where(Job.kind == kind).order_by(Job.id)))


def corpora(wire) -> list[Corpus]:
    """All rows of corpora."""
    with Session(wire.engine, expire_on_commit=False) as session:
        return list(session.scalars(select(Corpus)))


def uploads(wire) -> Uploads:
    """The place of raw uploads."""
    return Uploads(wire.settings.store_url)


def make_report(**changes) -> dict:
    """A report as a validation writes it."""
    report = CorpusReport(
        files=["pairs.jsonl"],
        documents=40,
        examples=1200,
        conversations=40,
        turns=2400,
        tokens=123456,
        trained_tokens=65432,
        languages={"fr": 0.92, "en": 0.08},
        exact_duplicates=3,
        near_duplicates=2,
        masked={"[email]": 2},
        splits={
            "train": SplitCount(36, 1100, 100_000),
            "validation": SplitCount(2, 50, 1000),
            "test": SplitCount(2, 50, 1000),
        },
        sha256="c" * 64,
        warnings=["little-text"],
    )
    return {**report.to_json(), **changes}


def validate(wire, **changes) -> str:
    """Do the newest validation as its worker would; returns the fine-tune's id."""
    job = jobs(wire, JobKind.VALIDATE)[-1]
    prepared = PreparedCorpus(
        f"corpora/{job.id}",
        "d" * 64,
        "c" * 64,
        10,
        make_report(**changes),
        {
            "steps": 120,
            "epochs": 3.0,
            "learning_rate": 0.0013,
            "tokens": 100_000,
            "block_size": 512,
        },
    )
    with Session(wire.engine) as session, session.begin():
        taken = claim(session, job.id, "test", 30)
        assert accept_corpus(session, taken, prepared)
    return job.payload["finetune_id"]


def refuse(wire, error) -> None:
    """Fail the newest validation as its worker would."""
    from core.corpora.submissions import conclude_validations

    job = jobs(wire, JobKind.VALIDATE)[-1]
    with Session(wire.engine) as session, session.begin():
        fail(session, claim(session, job.id, "test", 30), error)
        conclude_validations(session)


def work(wire, job_id: str):
    """Claim a fine-tune as its worker would."""
    with Session(wire.engine) as session, session.begin():
        taken = claim(session, job_id, "test", 600)
        assert taken is not None
    return taken


def report_step(wire, taken, step: int, steps: int = 200, loss: float = 2.5, **more) -> None:
    """Say how far a run is, as its worker would."""
    progress = {
        "step": step,
        "steps": steps,
        "epoch": 3 * step / steps,
        "loss": loss,
        "learning_rate": 1e-4,
        "gradient_norm": 1.0,
        "tokens_per_second": 1234.5,
        "seconds_left": 3725.0,
        **more,
    }
    with Session(wire.engine) as session, session.begin():
        report_progress(session, taken, progress)


def report_evaluation(wire, taken, step: int, loss: float) -> None:
    """Tell of an evaluation, as its worker would."""
    train = [[step - 1, loss + 0.5], [step, loss + 0.4]] if step else []
    with Session(wire.engine) as session, session.begin():
        record(session, taken.job_id, "evaluated", step=step, loss=loss, train=train)


def change(wire, function, *arguments):
    """Call a function of the ledger in a transaction of its own."""
    with Session(wire.engine) as session, session.begin():
        return function(session, *arguments)


async def started(wire) -> str:
    """A fine-tune whose admin has pressed Start; returns its id."""
    await start(wire, ("pairs.jsonl", PAIRS))
    await eventually(lambda: "reading" in title(wire))
    job_id = validate(wire)
    await eventually(lambda: "ready" in title(wire))
    await press(wire, cast.CAMILLE, board(wire), "Start")
    await eventually(lambda: "waiting" in title(wire))
    return job_id


def make_metrics(**changes) -> dict:
    """Metrics as the trainer writes them."""
    asked = ["Who are you?", "What do you *eat*?", "Where do you live?"]

    def side(perplexity: float, answer: str) -> dict:
        return {
            "samples": [{"prompt": prompt, "text": answer} for prompt in asked],
            "validation": {"loss": 3.0, "perplexity": perplexity, "tokens": 100},
            "test": {"loss": 3.0, "perplexity": perplexity + 1, "tokens": 100},
        }

    return {
        "base": side(31.254, "I am a language model."),
        "tuned": side(12.5, "Coco! *croak* @everyone"),
        "is_better": True,
        "step": 100,
        "steps": 120,
        "planned_steps": 200,
        "ending": "early-stopped",
        "train_seconds": 754.2,
        "train_tokens": 100_000,
        "method": "lora",
        **changes,
    }


def finish(wire, taken, **changes) -> str:
    """End a run well, as its worker would; returns the version's id."""
    metrics = make_metrics(**changes)
    with Session(wire.engine) as session, session.begin():
        version_id = register_version(
            session,
            model=taken.payload["model"],
            guild_id=taken.guild_id,
            source="test",
            stored=StoredVersion(
                f"models/coco/{taken.job_id}",
                "0" * 64,
                1,
                metrics,
                base_id=taken.payload["base_version_id"],
                job_id=taken.job_id,
            ),
        )
        succeed(session, taken, {"version_id": version_id, "metrics": metrics})
    return version_id


async def open_form(wire, begin) -> dict:
    """The form that the bot opens once ``begin`` was awaited."""
    forms: list[dict] = []
    wire.world.listen(lambda e: forms.append(e.data) if e.name == "PAGE_MODAL_OPEN" else None)
    await begin()
    await eventually(lambda: bool(forms))
    return forms[0]


async def send_form(wire, user: str, form: dict, values: list, files=(), **more) -> dict:
    """Fill a form in, a value for each field in order; returns the bot's answer."""
    channel, locale = more.get("channel", cast.GENERAL), more.get("locale", "en-US")
    answered = [
        {"type": label["component"]["type"], "custom_id": label["component"]["custom_id"]}
        | ({"values": value} if isinstance(value, list) else {"value": value})
        for label, value in zip(form["components"], values, strict=True)
    ]
    data = {
        "custom_id": form["custom_id"],
        "components": [{"type": 18, "component": component} for component in answered],
        "resolved": {"attachments": {file["id"]: file for file in files}},
    }
    pending = wire.server.interactions.begin(MODAL, user, channel, data, locale=locale)
    answer: list[dict] = []

    def is_answered() -> bool:
        if pending.original_id is None:
            return False
        since = int(pending.original_id)
        answer[:] = [m for m in wire.world.history(channel, user) if int(m["id"]) >= since][:1]
        return bool(answer) and not answer[0]["flags"] & _LOADING

    await eventually(is_answered)
    return answer[0]


async def open_command(wire, user: str, name: str, path: str, options=(), **more) -> None:
    """Use a slash command without waiting for a message."""
    await eventually(lambda: bool(wire.world.commands))
    command = next(c for c in wire.world.commands if c["name"] == name)
    nested = [{"name": path, "type": 1, "options": list(options)}]
    data = {"id": command["id"], "name": name, "type": 1, "options": nested}
    attachments = more.get("attachments", ())
    data["resolved"] = {"attachments": {a["id"]: a for a in attachments}}
    channel = more.get("channel", cast.GENERAL)
    pending = wire.server.interactions.begin(
        COMMAND, user, channel, data, locale=more.get("locale", "en-US")
    )
    await eventually(lambda: pending.is_acknowledged)


def report_trial(wire, job_id: str, number: int, losses, *, state: str = "", **options) -> None:
    """Tell of a trial of a search, as its worker would; ``state`` ends it."""
    with Session(wire.engine) as session, session.begin():
        record(session, job_id, "trial_began", number=number, options=options)
        for step, loss in enumerate(losses):
            record(session, job_id, "trial_evaluated", number=number, step=step * 10, loss=loss)
        if state:
            record(
                session,
                job_id,
                "trial_ended",
                number=number,
                state=state,
                loss=min(losses),
                seconds=9.0,
            )

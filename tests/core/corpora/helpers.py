"""A fine-tune as an admin asks for it, and the rows it needs."""

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from core.catalog.registry import StoredVersion, register_version
from core.conversations.places import Place, open_place
from core.corpora.submissions import NewFinetune, Submitted, submit_finetune
from core.corpora.uploads import UploadedFile
from core.ids import new_id

GUILD, CHANNEL, ADMIN = 2000, 3000, 1003
OTHER_GUILD, OTHER_CHANNEL = 2100, 3100


def run(engine: Engine, function, *arguments, **named):
    """Call a function in a transaction of its own."""
    with Session(engine) as session, session.begin():
        return function(session, *arguments, **named)


def add_version(engine: Engine, model: str = "base", guild_id: int | None = None, **stored) -> str:
    """A version of a model, of the operator's unless a guild is named."""

    def add(session: Session) -> str:
        if guild_id is not None:
            channel = CHANNEL if guild_id == GUILD else OTHER_CHANNEL
            open_place(session, Place(channel, guild_id, "guild"))
        path = stored.pop("store_path", f"models/{model}/{new_id()}")
        manifest_sha256 = stored.pop("manifest_sha256", "0" * 64)
        metrics = stored.pop("metrics", {})
        version = StoredVersion(path, manifest_sha256, 1, metrics, **stored)
        return register_version(
            session, model=model, guild_id=guild_id, source="test", stored=version
        )

    return run(engine, add)


def submit(
    engine: Engine, base_version_id: str, *files: UploadedFile, guild_id: int = GUILD, **changes
) -> Submitted:
    """Ask for a fine-tune."""
    channel = CHANNEL if guild_id == GUILD else OTHER_CHANNEL
    values = {
        "place": Place(channel, guild_id, "guild"),
        "requester_id": ADMIN,
        "model": "coco",
        "base_version_id": base_version_id,
        "base_name": "base",
        "options": {"method": "lora", "epochs": 2.0},
        "corpus_id": new_id(),
        "files": files or (UploadedFile("a.jsonl", "a" * 64, 10),),
        "process_name": "bot-0",
        "locale": "en",
    }
    return run(engine, submit_finetune, NewFinetune(**{**values, **changes}))

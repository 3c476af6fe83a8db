"""What a worker needs in order to answer a message, and what it writes when it has."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, case, func, insert, or_, select
from sqlalchemy.orm import Session, aliased

from core.catalog.resolution import resolve_version
from core.conversations.utterances import TEXT, Utterance, Weights
from core.db.statements import run
from core.db.tables import Message, Model, Version
from core.errors import InvalidInputError, NotFoundError
from core.jobs.ledger import Claim, succeed

_BASE = aliased(Version)
# What must be loaded for a version is its base, or itself.
_LOADED_MODEL_ID = func.coalesce(_BASE.model_id, Version.model_id)
_LOADED_JOB_ID = case((Version.base_id.is_(None), Version.job_id), else_=_BASE.job_id)
_IS_OPERATORS = (
    Model.guild_id.is_(None) & _LOADED_JOB_ID.is_(None) & ~Model.source.startswith("finetune:")
)
_STORE_PATHS = (
    select(
        Version.store_path,
        _BASE.store_path.label("base_path"),
        Version.manifest_sha256,
        _BASE.manifest_sha256.label("base_manifest_sha256"),
        case((_IS_OPERATORS, Model.name)).label("operator_model"),
    )
    .outerjoin(_BASE, _BASE.id == Version.base_id)
    .join(Model, Model.id == _LOADED_MODEL_ID)
    .where(
        Version.id == bindparam("version"),
        Version.retired_at.is_(None),
        or_(Version.base_id.is_(None), _BASE.retired_at.is_(None)),
    )
)
_HISTORY = (
    select(Message.id, Message.role, Message.author_name, Message.content)
    .where(
        Message.conversation_id == bindparam("conversation"),
        Message.id <= bindparam("message"),
    )
    .order_by(Message.id.desc())
    .limit(bindparam("most"))
)
_INSERT_MESSAGE = insert(Message.__table__)  # type: ignore[arg-type]
# In a payload: where the chosen version is gone, no other may answer in its place.
NO_OTHER = "no_other"


class NothingPublishedError(NotFoundError):
    """No model version answers in this channel."""

    code = "no-model"


class ForgottenError(InvalidInputError):
    """The message to answer was deleted before its turn came."""

    code = "forgotten"


@dataclass(frozen=True)
class Question:
    """A claimed ``generate`` job, unfolded: the history up to its message, and who answers."""

    utterances: tuple[Utterance, ...]
    weights: Weights
    version_id: str
    sampling: dict[str, Any]
    stream: str

    @property
    def is_text(self) -> bool:
        """Whether a text is to be gone on with, whose every character counts."""
        return self.utterances[0].role == TEXT


def find_weights(session: Session, version_id: str | None) -> Weights | None:
    """Where the weights of a version lie; None where it or its base is retired, or never was."""
    row = run(session, _STORE_PATHS, version=version_id).one_or_none()
    return None if row is None else Weights(*row)


def load_question(
    session: Session, held: Claim, *, max_messages: int, default_model: str
) -> Question:
    """Read what the job asks.

    The version that was to answer when the message came does; where there was none, or it was
    retired meanwhile, the one that would be chosen now.

    Raises:
        NothingPublishedError: no version is published.
        ForgottenError: the message is gone.
    """
    version_id = held.payload["version_id"]
    weights = find_weights(session, version_id)
    if weights is None and not held.payload.get(NO_OTHER):
        version_id = resolve_version(session, held.guild_id, held.channel_id, default_model)
        weights = find_weights(session, version_id)
    if version_id is None or weights is None:
        raise NothingPublishedError(
            "No model is published yet; add one with `perroquet models add`."
        )
    return Question(
        utterances=_utterances(session, held.payload, max_messages),
        weights=weights,
        version_id=version_id,
        sampling=held.payload["sampling"],
        stream=held.payload["stream"],
    )


def _utterances(
    session: Session, payload: dict[str, Any], max_messages: int
) -> tuple[Utterance, ...]:
    if "prompt" in payload:
        return (Utterance(TEXT, "", payload["prompt"]),)
    newest_first = run(
        session,
        _HISTORY,
        conversation=payload["conversation_id"],
        message=payload["message_id"],
        most=max_messages,
    ).all()
    if not newest_first or newest_first[0].id != payload["message_id"]:
        raise ForgottenError("The message was deleted before it could be answered.")
    return tuple(
        Utterance(row.role, row.author_name, row.content) for row in reversed(newest_first)
    )


def write_answer(
    session: Session, held: Claim, text: str, *, bot_name: str, facts: dict[str, Any]
) -> None:
    """End the job with ``text`` and remember it as said, in one transaction.

    Args:
        session: an open transaction.
        held: the claim.
        text: the whole answer.
        bot_name: the name under which the bot speaks.
        facts: figures of the generation (token counts, seconds, finish reason), kept in the result.

    Raises:
        LeaseLostError: the job is no longer held; nothing is written.
        CancelledJobError: its end was asked for first; nothing is written.
    """
    succeed(session, held, {"text": text, **facts})
    if "prompt" in held.payload:
        # A text belongs to no conversation; its job alone has it.
        return
    run(
        session,
        _INSERT_MESSAGE,
        conversation_id=held.payload["conversation_id"],
        job_id=held.job_id,
        role="assistant",
        author_id=0,
        author_name=bot_name,
        content=text,
    )

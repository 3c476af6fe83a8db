"""The schema. Invariants that a constraint can hold are held by one.

Times are seconds since 1970 UTC by the database's clock (:mod:`core.db.clock`). Discord's ids are
64-bit integers; our own are 20-character texts (:mod:`core.ids`), except where insertion order
itself is the meaning (``messages``, ``job_events``).
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from core.db.clock import epoch_now
from core.jobs.states import JobKind, JobState, JobWish

ID = String(20)
# SQLite numbers rows by itself only in a column that is exactly INTEGER PRIMARY KEY.
SERIAL = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can drop what they made."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text, int: BigInteger, float: Double, dict[str, Any]: JSON}  # noqa: RUF012


def _one_of(column: str, values: type[JobState] | type[JobKind] | type[JobWish]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


class Guild(Base):
    """A Discord server that the bot is or was in."""

    __tablename__ = "guilds"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    locale: Mapped[str] = mapped_column(String(8))
    joined_at: Mapped[float] = mapped_column(default=epoch_now())
    left_at: Mapped[float | None]
    # Members with this role may teach and choose models, besides those who manage the server.
    teacher_role_id: Mapped[int | None]

    __table_args__ = (CheckConstraint("locale IN ('en', 'fr')", name="locale"),)


class Channel(Base):
    """A text channel, thread, direct message or terminal in which people talk with the bot."""

    __tablename__ = "channels"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    guild_id: Mapped[int | None] = mapped_column(ForeignKey("guilds.id"), index=True)
    # Of a thread: the channel that it stands in, whose choices it shares until it has its own.
    parent_id: Mapped[int | None]
    # Switched on with /perroquet here: every message is answered, not only those addressed to it.
    is_listening: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[float] = mapped_column(default=epoch_now())


class Conversation(Base):
    """What is remembered of a channel since it was last told to forget. One is open at a time."""

    __tablename__ = "conversations"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    channel_id: Mapped[int] = mapped_column(ForeignKey("channels.id", ondelete="CASCADE"))
    started_at: Mapped[float] = mapped_column(default=epoch_now())
    ended_at: Mapped[float | None]

    __table_args__ = (
        Index(
            "uq_conversations_open",
            "channel_id",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
        Index("ix_conversations_channel_id", "channel_id"),
    )


class Message(Base):
    """One thing said, by a member or by the bot. ``id`` is the order in which it was heard."""

    __tablename__ = "messages"

    id: Mapped[int] = mapped_column(SERIAL, primary_key=True)
    conversation_id: Mapped[str] = mapped_column(
        ID, ForeignKey("conversations.id", ondelete="CASCADE")
    )
    discord_id: Mapped[int | None] = mapped_column(unique=True)
    # The job that wrote it, of the bot's own messages: one job says one thing.
    job_id: Mapped[str | None] = mapped_column(
        ID, ForeignKey("jobs.id", ondelete="CASCADE"), unique=True
    )
    role: Mapped[str] = mapped_column(String(9))
    author_id: Mapped[int] = mapped_column(index=True)
    author_name: Mapped[str]
    content: Mapped[str]
    created_at: Mapped[float] = mapped_column(default=epoch_now(), index=True)

    __table_args__ = (
        CheckConstraint("role IN ('user', 'assistant')", name="role"),
        CheckConstraint("(role = 'assistant') = (job_id IS NOT NULL)", name="answer_has_job"),
        Index("ix_messages_conversation_id_id", "conversation_id", "id"),
    )


class Job(Base):
    """A piece of work and, at once, its outbox entry: queued and not dispatched means owed.

    ``token`` is the fence: each claim adds one, and whoever writes with an older one changes no
    row. ``crashes`` counts leases that ended without a word.
    """

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(10), default=JobState.QUEUED)
    guild_id: Mapped[int | None] = mapped_column(ForeignKey("guilds.id"))
    channel_id: Mapped[int | None] = mapped_column(ForeignKey("channels.id"))
    requester_id: Mapped[int]
    priority: Mapped[int] = mapped_column(Integer, default=0)
    payload: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None]
    error_code: Mapped[str | None] = mapped_column(String(64))
    error: Mapped[str | None]

    token: Mapped[int] = mapped_column(Integer, default=0)
    crashes: Mapped[int] = mapped_column(Integer, default=0)
    worker_id: Mapped[str | None] = mapped_column(String(100))
    lease_until: Mapped[float | None]
    cancel_requested: Mapped[bool] = mapped_column(Boolean, default=False)
    wish: Mapped[str | None] = mapped_column(String(8))
    dispatched_at: Mapped[float | None]

    created_at: Mapped[float] = mapped_column(default=epoch_now())
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]

    __table_args__ = (
        CheckConstraint(_one_of("kind", JobKind), name="kind"),
        CheckConstraint(_one_of("state", JobState), name="state"),
        CheckConstraint(_one_of("wish", JobWish), name="wish"),
        CheckConstraint(
            "(state = 'running') = (lease_until IS NOT NULL)", name="lease_means_running"
        ),
        CheckConstraint(
            "(state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name="finished_means_ended",
        ),
        CheckConstraint("(state = 'failed') = (error_code IS NOT NULL)", name="failed_says_why"),
        CheckConstraint("state <> 'succeeded' OR result IS NOT NULL", name="succeeded_has_result"),
        CheckConstraint("state <> 'succeeded' OR token > 0", name="succeeded_was_claimed"),
        CheckConstraint(
            "state <> 'running' OR (worker_id IS NOT NULL AND token > 0)", name="running_is_held"
        ),
        CheckConstraint(
            "state NOT IN ('validating', 'queued') OR worker_id IS NULL", name="waiting_is_free"
        ),
        CheckConstraint("state <> 'cancelled' OR cancel_requested", name="cancelled_was_asked"),
        # Whoever asks for the end of a job gets it, unless the job had ended before.
        CheckConstraint(
            "NOT cancel_requested OR state IN ('running', 'cancelled')", name="asked_is_cancelled"
        ),
        CheckConstraint("token >= 0 AND crashes >= 0 AND crashes <= token", name="counts"),
        Index(
            "ix_jobs_owed",
            "dispatched_at",
            "id",
            sqlite_where=text("state = 'queued'"),
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "ix_jobs_leases",
            "lease_until",
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
        Index("ix_jobs_guild_id_id", "guild_id", "id"),
        # For lists and counts by state and kind, of one guild and of all (core.jobs.queries).
        Index("ix_jobs_guild_id_state_kind_id", "guild_id", "state", "kind", "id"),
        Index("ix_jobs_state_kind_id", "state", "kind", "id"),
        Index("ix_jobs_requester_id_guild_id_id", "requester_id", "guild_id", "id"),
        Index("ix_jobs_channel_id", "channel_id"),
        Index("ix_jobs_finished_at", "finished_at"),
    )


class JobEvent(Base):
    """What happened to a job, in order; written in the transaction that made it happen."""

    __tablename__ = "job_events"

    id: Mapped[int] = mapped_column(SERIAL, primary_key=True)
    job_id: Mapped[str] = mapped_column(ID, ForeignKey("jobs.id", ondelete="CASCADE"))
    at: Mapped[float] = mapped_column(default=epoch_now())
    type: Mapped[str] = mapped_column(String(32))
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)

    __table_args__ = (Index("ix_job_events_job_id_id", "job_id", "id"),)


class Reply(Base):
    """Where in Discord the answer of a ``generate`` job stands, part by part.

    The row is made with its job. ``delivered_at`` is set once the channel shows the text of the
    job's result; until then some bot process owes it.
    """

    __tablename__ = "replies"

    job_id: Mapped[str] = mapped_column(
        ID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    process_name: Mapped[str] = mapped_column(String(32))
    channel_id: Mapped[int]
    guild_id: Mapped[int | None]
    trigger_id: Mapped[int] = mapped_column(index=True)
    locale: Mapped[str] = mapped_column(String(8))
    part_ids: Mapped[list[int]] = mapped_column(JSON, default=list)
    created_at: Mapped[float] = mapped_column(default=epoch_now())
    delivered_at: Mapped[float | None]
    # Why it could not be shown: the channel is gone, or the bot may not write there.
    undeliverable: Mapped[str | None] = mapped_column(String(32))

    __table_args__ = (
        CheckConstraint("undeliverable IS NULL OR delivered_at IS NOT NULL", name="given_up"),
        Index(
            "ix_replies_owed",
            "process_name",
            "job_id",
            sqlite_where=text("delivered_at IS NULL"),
            postgresql_where=text("delivered_at IS NULL"),
        ),
    )


class Board(Base):
    """The one channel message that shows a fine-tune, from the upload to its end.

    The row is made with its job. ``message_id`` is the message that is edited, once it is posted;
    ``closed_at`` is set once the channel shows how the job ended, or never will.
    """

    __tablename__ = "boards"

    job_id: Mapped[str] = mapped_column(
        ID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    process_name: Mapped[str] = mapped_column(String(32))
    channel_id: Mapped[int]
    locale: Mapped[str] = mapped_column(String(8))
    message_id: Mapped[int | None]
    created_at: Mapped[float] = mapped_column(default=epoch_now())
    closed_at: Mapped[float | None]

    __table_args__ = (
        Index(
            "ix_boards_open",
            "process_name",
            "job_id",
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
    )


class Model(Base):
    """A line of versions under one name. Without a guild it is the operator's, for everyone."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    guild_id: Mapped[int | None] = mapped_column(ForeignKey("guilds.id"))
    name: Mapped[str] = mapped_column(String(100))
    source: Mapped[str]
    created_at: Mapped[float] = mapped_column(default=epoch_now())

    __table_args__ = (
        UniqueConstraint("guild_id", "name"),
        # NULLs are distinct to UNIQUE, so the operator's names need an index of their own.
        Index(
            "uq_models_shared_name",
            "name",
            unique=True,
            sqlite_where=text("guild_id IS NULL"),
            postgresql_where=text("guild_id IS NULL"),
        ),
    )


class Version(Base):
    """Immutable weights in the store: a full model, or an adapter over another version."""

    __tablename__ = "versions"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    model_id: Mapped[str] = mapped_column(ID, ForeignKey("models.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(Integer)
    base_id: Mapped[str | None] = mapped_column(ID, ForeignKey("versions.id"))
    job_id: Mapped[str | None] = mapped_column(ID, ForeignKey("jobs.id", ondelete="SET NULL"))
    store_path: Mapped[str] = mapped_column(unique=True)
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    total_bytes: Mapped[int]
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[float] = mapped_column(default=epoch_now())
    retired_at: Mapped[float | None]

    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        # One job publishes one version, however often it was tried.
        UniqueConstraint("job_id"),
        CheckConstraint("number > 0", name="number"),
        CheckConstraint("length(manifest_sha256) = 64", name="manifest_sha256"),
    )


class Assignment(Base):
    """A choice of who answers: in one channel, or (without a channel) in a whole guild.

    Rows are only added; the newest of its scope is in force, so that a choice can be taken back.
    Without a version the scope follows the next wider one again.
    """

    __tablename__ = "assignments"

    id: Mapped[int] = mapped_column(SERIAL, primary_key=True)
    guild_id: Mapped[int | None] = mapped_column(ForeignKey("guilds.id"))
    channel_id: Mapped[int | None] = mapped_column(ForeignKey("channels.id"))
    version_id: Mapped[str | None] = mapped_column(
        ID, ForeignKey("versions.id", ondelete="SET NULL")
    )
    chosen_by: Mapped[int]
    chosen_at: Mapped[float] = mapped_column(default=epoch_now())

    __table_args__ = (
        CheckConstraint("guild_id IS NOT NULL OR channel_id IS NOT NULL", name="scope"),
        Index("ix_assignments_channel_id_id", "channel_id", "id"),
        Index("ix_assignments_guild_id_id", "guild_id", "id"),
    )


class Corpus(Base):
    """Text that an admin uploaded and declared to have the rights to."""

    __tablename__ = "corpora"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    guild_id: Mapped[int | None] = mapped_column(ForeignKey("guilds.id"), index=True)
    uploader_id: Mapped[int]
    name: Mapped[str]
    store_path: Mapped[str] = mapped_column(unique=True)
    sha256: Mapped[str] = mapped_column(String(64))
    total_bytes: Mapped[int]
    report: Mapped[dict[str, Any] | None]
    rights_declared_at: Mapped[float]
    created_at: Mapped[float] = mapped_column(default=epoch_now())

    __table_args__ = (CheckConstraint("length(sha256) = 64", name="sha256"),)


class Worker(Base):
    """A process that said it is alive, and what it runs on."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    info: Mapped[dict[str, Any]] = mapped_column(default=dict)
    started_at: Mapped[float] = mapped_column(default=epoch_now())
    seen_at: Mapped[float] = mapped_column(default=epoch_now(), index=True)

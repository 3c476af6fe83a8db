"""The exception tree of Perroquet.

Every error that a person may read has a stable ``code``. The code is what the job ledger stores
and what the locales translate (``error-<code>`` in ``bot/locales``); ``data`` fills the gaps in
that sentence. ``str(error)`` is the English sentence for logs and terminals.
"""

from typing import ClassVar

Datum = str | int | float


class PerroquetError(Exception):
    """Base of all errors that Perroquet raises on purpose.

    Args:
        message: one English sentence that says what happened and what to do next.
        **data: the values that the localised sentence of ``code`` needs.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, **data: Datum) -> None:
        super().__init__(message)
        self.data = data


class SettingsError(PerroquetError):
    """A setting is unknown, missing or out of range; ``data["key"]`` names it."""

    code = "settings"


class InvalidInputError(PerroquetError):
    """Something a person gave cannot be used. Nothing was changed."""

    code = "invalid-input"


class WrongUsageError(InvalidInputError):
    """A command was given something of no known form; its help says which forms there are."""


class NotFoundError(PerroquetError):
    """What was asked for does not exist, or belongs to another guild."""

    code = "not-found"


class JobNotFoundError(NotFoundError):
    """There is no job of this id, or it belongs to another guild; ``data["job"]`` is the id."""

    code = "job-not-found"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job {job_id}.", job=job_id)


class LeaseLostError(PerroquetError):
    """The worker no longer holds the job; what it made must be thrown away."""

    code = "lease-lost"


class CancelledJobError(PerroquetError):
    """Somebody asked for the job to end before it was done."""

    code = "cancelled"


class ServiceUnavailableError(PerroquetError):
    """SQL, Redis, the store or the hub cannot be reached; ``data["service"]`` names it."""

    code = "service-unavailable"


class StoreError(PerroquetError):
    """A version in the model store is missing, damaged or refused."""

    code = "store"

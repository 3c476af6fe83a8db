"""What was said, and whose weights answer it. Plain data: who generates needs no SQL for it."""

from dataclasses import dataclass, field

TEXT = "text"


@dataclass(frozen=True)
class Utterance:
    """One message of the history. ``role`` is ``user`` or ``assistant``; a lone :data:`TEXT` is no
    message, but the beginning of a text to go on with."""

    role: str
    name: str
    text: str


@dataclass(frozen=True)
class Weights:
    """Where a version's weights lie in the store, and the SHA-256 of the manifest that proves them.

    An adapter names its base too. ``operator_model`` is the name of the model that must be loaded,
    the version's own or its base's, where the operator added it: None where a guild owns it or a
    fine-tune made it.
    """

    store_path: str
    base_path: str | None = None
    manifest_sha256: str | None = None
    base_manifest_sha256: str | None = None
    # The same weights are the same under a new name.
    operator_model: str | None = field(default=None, compare=False)

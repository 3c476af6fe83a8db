"""Traces: one from the gateway event of a message to the last edit of its answer.

Off unless ``tracing.endpoint`` is set; nothing of OpenTelemetry is imported before. A trace crosses
processes in the row of its job, as W3C's ``traceparent`` (https://www.w3.org/TR/trace-context/), so
it outlives hints that are lost and processes that are. Spans carry ids and figures, never texts.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from core.errors import SettingsError
from core.settings import TracingSettings

# The key of a job's payload under which its trace travels.
TRACE = "trace"

Attribute = str | int | float | bool | None
_NOTHING = nullcontext()


class Tracer(Protocol):
    """What makes spans; :class:`core.monitoring.opentelemetry.OpenTelemetry` is the one."""

    def span(
        self, name: str, trace: str | None, attributes: dict[str, Attribute]
    ) -> AbstractContextManager[None]:
        """A span for as long as the context lasts: below ``trace``, else below the current one."""
        ...

    def has_current(self) -> bool:
        """Whether a span of the caller's is under way."""
        ...

    def carried(self) -> str | None:
        """The current span as ``traceparent``; None where there is none."""
        ...

    def mark(self, event: str) -> None:
        """Note a moment within the current span."""
        ...

    def close(self) -> None:
        """Send what is not sent yet."""
        ...


class _Holder:
    """The tracer of this process, as the figures are those of this process."""

    tracer: Tracer | None = None


def start_tracing(settings: TracingSettings, process: str) -> None:
    """Make spans from now on, where the settings say where they go.

    Raises:
        SettingsError: the libraries are not installed.
    """
    if not settings.endpoint:
        return
    try:
        from core.monitoring.opentelemetry import export_to
    except ImportError as exc:
        raise SettingsError(
            "Traces need OpenTelemetry: pip install -e '.[otel]' -c constraints.txt",
            key="tracing.endpoint",
        ) from exc
    use_tracer(export_to(settings, process))


def use_tracer(tracer: Tracer | None) -> None:
    """Have this process' spans made by a tracer; None for by none."""
    _Holder.tracer = tracer


def stop_tracing() -> None:
    """Send what is not sent yet, and make no more spans."""
    tracer, _Holder.tracer = _Holder.tracer, None
    if tracer is not None:
        tracer.close()


def begin(name: str, **attributes: Attribute) -> AbstractContextManager[None]:
    """The first span of a trace, or one below the current span."""
    tracer = _Holder.tracer
    return _NOTHING if tracer is None else tracer.span(name, None, attributes)


def resume(name: str, trace: str | None, **attributes: Attribute) -> AbstractContextManager[None]:
    """A span that goes on with a trace that was carried here; nothing where none was."""
    tracer = _Holder.tracer
    if tracer is None or trace is None:
        return _NOTHING
    return tracer.span(name, trace, attributes)


def step(name: str, **attributes: Attribute) -> AbstractContextManager[None]:
    """A span below the current one; nothing where there is none."""
    tracer = _Holder.tracer
    if tracer is None or not tracer.has_current():
        return _NOTHING
    return tracer.span(name, None, attributes)


def mark(event: str) -> None:
    """Note a moment within the current span."""
    if _Holder.tracer is not None:
        _Holder.tracer.mark(event)


def carried() -> str | None:
    """The current span, to be carried elsewhere; None where there is none."""
    return None if _Holder.tracer is None else _Holder.tracer.carried()

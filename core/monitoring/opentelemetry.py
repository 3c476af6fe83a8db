"""OpenTelemetry's own libraries; only :mod:`core.monitoring.tracing` imports this."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from core.monitoring.tracing import Attribute
from core.settings import TracingSettings

_TIMEOUT_SECONDS = 3
_HEADER = "traceparent"


class OpenTelemetry:
    """Makes spans with OpenTelemetry's SDK.

    Args:
        processor: gets the spans that have ended.
        process: what this process is.
        share: of the traces that are kept; whoever goes on with a trace keeps it or not as its
            beginning was.
    """

    def __init__(self, processor: SpanProcessor, process: str, share: float = 1.0) -> None:
        resource = Resource.create(
            {
                "service.name": f"perroquet-{process}",
                "service.version": version("perroquet"),
                "host.name": socket.gethostname(),
            }
        )
        sampler = ParentBased(TraceIdRatioBased(share))
        self._provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("perroquet")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(
        self, name: str, trace: str | None, attributes: dict[str, Attribute]
    ) -> Iterator[None]:
        """See :class:`core.monitoring.tracing.Tracer`."""
        context = None if trace is None else self._propagator.extract({_HEADER: trace})
        known = {key: value for key, value in attributes.items() if value is not None}
        with self._tracer.start_as_current_span(
            name,
            context,
            attributes=known,
            # The words of an exception may be a member's.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as exc:
                span.set_status(api.StatusCode.ERROR, type(exc).__name__)
                raise

    def has_current(self) -> bool:
        """See :class:`core.monitoring.tracing.Tracer`."""
        return bool(api.get_current_span().get_span_context().is_valid)

    def carried(self) -> str | None:
        """See :class:`core.monitoring.tracing.Tracer`."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get(_HEADER)

    def mark(self, event: str) -> None:
        """See :class:`core.monitoring.tracing.Tracer`."""
        api.get_current_span().add_event(event)

    def close(self) -> None:
        """See :class:`core.monitoring.tracing.Tracer`."""
        self._provider.shutdown()


def export_to(settings: TracingSettings, process: str) -> OpenTelemetry:
    """Send spans to a collector by OTLP over HTTP, in the background.

    OpenTelemetry's own variables (``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_RESOURCE_ATTRIBUTES`` …)
    hold as well.
    """
    exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=_TIMEOUT_SECONDS)
    return OpenTelemetry(BatchSpanProcessor(exporter), process, settings.share)

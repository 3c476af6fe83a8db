import pytest

from tests.core.tls import make_certificate


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for loopback."""
    return make_certificate(tmp_path_factory.mktemp("tls"))

import pytest

from tests.workers.model_folders import save_tiny_gpt2


@pytest.fixture(scope="session")
def tiny_gpt2_folder(tmp_path_factory):
    return save_tiny_gpt2(tmp_path_factory.mktemp("tiny-gpt2"))


@pytest.fixture
def shell_engine(engine, database_url, tmp_path, monkeypatch):
    """An engine on the database that commands find in a wide shell's environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("PERROQUET_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    return engine

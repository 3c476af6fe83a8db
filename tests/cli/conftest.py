import pytest

from tests.workers.model_folders import save_tiny_gpt2


@pytest.fixture(scope="session")
def tiny_gpt2_folder(tmp_path_factory):
    return save_tiny_gpt2(tmp_path_factory.mktemp("tiny-gpt2"))

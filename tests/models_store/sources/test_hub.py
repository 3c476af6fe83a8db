"""Downloads from a hub on loopback, by the hub's own client."""

import pytest
from huggingface_hub import constants

from models_store.errors import SourceUnavailableError
from models_store.sources.hub import download
from tests.models_store.sources.hub_server import serve_hub

REPOSITORY = "nest/coco"


@pytest.fixture
def hub(folder, monkeypatch):
    """A hub that has one model, and a pickle beside it."""
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with serve_hub(REPOSITORY, folder) as url:
        template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield url


def test_a_model_of_the_hub_is_downloaded_and_can_be_published(hub, local_site, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    downloaded = download(REPOSITORY, target)
    names = sorted(file.name for file in downloaded.iterdir())
    assert names == ["config.json", "model.safetensors"]
    local_site.store.publish(downloaded, "models/coco/1", {})
    local_site.store.verify("models/coco/1")


def test_a_repository_that_is_not_there_is_said(hub, tmp_path):
    with pytest.raises(SourceUnavailableError, match="spelling"):
        download("nest/nobody", tmp_path / "target")


def test_a_revision_that_is_not_there_is_said(hub, tmp_path):
    with pytest.raises(SourceUnavailableError, match="no revision “v9”"):
        download(f"{REPOSITORY}@v9", tmp_path / "target")


def test_a_repository_of_pickles_alone_is_refused(hub, folder, tmp_path):
    (folder / "model.safetensors").unlink()
    with pytest.raises(SourceUnavailableError, match="pickled"):
        download(REPOSITORY, tmp_path / "target")

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from safetensors.numpy import save_file

from models_store.store import ModelStore


@dataclass(frozen=True)
class Site:
    """A store, and the way around it to the files that it keeps."""

    url: str
    store: ModelStore
    filesystem: AbstractFileSystem
    root: str

    def at(self, *parts: str) -> str:
        return "/".join((self.root.rstrip("/"), *parts))

    def read(self, path: str, name: str) -> bytes:
        return self.filesystem.cat_file(self.at(path, name))

    def write(self, path: str, name: str, content: bytes) -> None:
        self.filesystem.makedirs(self.at(path), exist_ok=True)
        self.filesystem.pipe_file(self.at(path, name), content)

    def delete(self, path: str, name: str) -> None:
        self.filesystem.rm_file(self.at(path, name))

    def files(self) -> list[str]:
        return sorted(
            name[len(self.root) :].lstrip("/") for name in self.filesystem.find(self.root)
        )


def make_site(url: str, cache_dir: Path, cache_max_bytes: int = 10**9) -> Site:
    filesystem, root = url_to_fs(url)
    return Site(url, ModelStore(url, cache_dir, cache_max_bytes), filesystem, root)


@pytest.fixture
def folder(tmp_path):
    """A folder as models are: weights, configuration, and something below."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    save_file({"w": np.arange(1000, dtype=np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "README.md").write_text("# héllo")
    return folder


@pytest.fixture
def local_site(tmp_path):
    return make_site(f"file://{tmp_path / 'store'}", tmp_path / "cache")


@pytest.fixture
def memory_site(tmp_path):
    return make_site(f"memory://{tmp_path}", tmp_path / "cache")


@pytest.fixture
def s3_site(tmp_path, s3_url):
    return make_site(s3_url, tmp_path / "cache")


@pytest.fixture(params=["local", "memory", "s3"])
def site(request):
    """The same test on a folder, on fsspec's object store in memory, and on a real S3 server."""
    return request.getfixturevalue(f"{request.param}_site")

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from core.catalog.exporting import TooLargeToSendError, VersionFiles
from core.errors import ServiceUnavailableError, StoreError


def publish(root, **files: bytes) -> str:
    """Write a version as the model store does; returns its manifest's hash."""
    folder = root / "models" / "coco"
    folder.mkdir(parents=True)
    names = {name.replace("__", "."): content for name, content in files.items()}
    for name, content in names.items():
        (folder / name).write_bytes(content)
    listed = {
        n: {"sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for n, c in names.items()
    }
    manifest = json.dumps({"format": 1, "files": listed, "metadata": {}}).encode()
    (folder / "manifest.json").write_bytes(manifest)
    return hashlib.sha256(manifest).hexdigest()


def export(root, sha256: str, max_bytes: int = 10**6):
    return VersionFiles(f"file://{root}").export("models/coco", sha256, max_bytes)


def test_weights_configuration_and_card_are_handed_on_without_the_tokenizer(tmp_path):
    weights = save({"a": np.ones(10, np.float32)})
    sha256 = publish(
        tmp_path, adapter_model__safetensors=weights, config__json=b"{}", tokenizer__json=b"{}"
    )
    found = export(tmp_path, sha256)
    assert [file.name for file in found.files] == ["adapter_model.safetensors", "config.json"]
    assert found.files[0].content == weights
    assert not found.is_halved


def test_weights_that_do_not_fit_are_rounded_to_16_bits(tmp_path):
    values = np.linspace(-1, 1, 5000, dtype=np.float32)
    sha256 = publish(tmp_path, m__safetensors=save({"a": values, "b": np.arange(3)}))
    found = export(tmp_path, sha256, 15_000)
    assert found.is_halved
    tensors = load(found.files[0].content)
    assert (tensors["a"].dtype, tensors["b"].dtype) == (np.float16, np.arange(3).dtype)
    assert np.abs(tensors["a"].astype(np.float32) - values).max() < 1e-3


@pytest.mark.parametrize("value", [1.0, 1e6])
def test_what_does_not_fit_or_loses_its_values_is_refused(tmp_path, value):
    sha256 = publish(tmp_path, m__safetensors=save({"a": np.full(5000, value, np.float32)}))
    with pytest.raises(TooLargeToSendError):
        export(tmp_path, sha256, 9_000 if value == 1.0 else 15_000)


def test_nothing_but_what_was_published_is_handed_on(tmp_path):
    sha256 = publish(tmp_path, m__safetensors=save({"a": np.ones(3)}))
    with pytest.raises(StoreError, match=r"manifest\.json is not what"):
        export(tmp_path, "0" * 64)
    (tmp_path / "models" / "coco" / "m.safetensors").write_bytes(b"other")
    with pytest.raises(StoreError, match=r"m\.safetensors is not what"):
        export(tmp_path, sha256)
    (tmp_path / "models" / "coco" / "m.safetensors").unlink()
    with pytest.raises(StoreError, match="missing"):
        export(tmp_path, sha256)
    with pytest.raises(ServiceUnavailableError):
        VersionFiles("nonsense://x").export("models/coco", sha256, 1)

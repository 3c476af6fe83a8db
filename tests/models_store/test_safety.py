import pickle
import struct

import numpy as np
import pytest
from safetensors.numpy import save

from models_store.errors import UnsafeFileError
from models_store.safety import check_content, check_name

WEIGHTS = save({"w": np.ones(4, dtype=np.float32)})
SENTENCEPIECE = b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02"


@pytest.mark.parametrize(
    "name",
    [
        "config.json", "model-00001-of-00002.safetensors", "tokenizer.model", "merges.txt",
        "chat_template.jinja", "README.md", "LICENSE", "sub/deep/train.jsonl", "données.txt",
    ],
)  # fmt: skip
def test_what_models_and_corpora_need_is_let_in(name):
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "modeling.py", "run.sh", "model.onnx", "data.zip", "noending", ".env.json", "../x.json",
        "/etc/x.json", "a/../x.json", "a\\x.json", "a//x.json", "", "x.json/", "MODEL.SAFETENSORS",
        "nul\0.json", "line\nbreak.json", "manifest.json", "star*.json",
    ],
)  # fmt: skip
def test_other_names_are_refused(name):
    with pytest.raises(UnsafeFileError):
        check_name(name)


@pytest.mark.parametrize("suffix", ["bin", "pt", "pth", "pkl", "pickle", "ckpt"])
def test_a_pickle_is_refused_with_the_reason(suffix):
    with pytest.raises(UnsafeFileError, match="run code") as caught:
        check_name(f"weights.{suffix}")
    assert caught.value.data == {"file": f"weights.{suffix}"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", WEIGHTS),
        ("config.json", b"{}"),
        ("empty.txt", b""),
        ("french.txt", "é".encode() * 2**20),
        ("tokenizer.model", SENTENCEPIECE),
        ("tokenizer.model", b"IQ== 0\nIg== 1\n"),
    ],
)
def test_content_that_is_what_its_name_says_is_let_in(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    check_content(tmp_path / name, name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", pickle.dumps({})),
        ("model.safetensors", b"not a header at all"),
        ("model.safetensors", b""),
        ("model.safetensors", WEIGHTS[:-1]),
        ("model.safetensors", WEIGHTS + b"\0"),
        ("model.safetensors", struct.pack("<Q", 2**60) + WEIGHTS[8:]),
        ("model.safetensors", WEIGHTS[:8] + b"[" + WEIGHTS[9:]),
        ("config.json", b"PK\x03\x04zip"),
        ("config.json", pickle.dumps([1], protocol=2)),
        ("config.json", b'{"a": "\xff"}'),
        ("notes.txt", b"text\0more"),
        ("cut.txt", "é".encode()[:1]),
        ("late.txt", b"a" * 2**20 + b"\xff"),
        ("tokenizer.model", b"\xff\xd8jpeg"),
        ("tokenizer.model", b"PK\x03\x04"),
        ("LICENSE", b"\x7fELF\x02\x01\x01\0"),
    ],
)
def test_content_that_lies_about_itself_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnsafeFileError) as caught:
        check_content(tmp_path / name, name)
    assert caught.value.data == {"file": name}

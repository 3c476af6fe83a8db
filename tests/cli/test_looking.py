"""Commands that look at an installation leave a folder without one as it is."""

import pytest

from tests.cli.running import perroquet


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "list"),
        ("models", "verify"),
        ("models", "remove", "coco", "--yes"),
        ("jobs", "list"),
        ("jobs", "show", "x"),
        ("top", "--once"),
    ],
)
def test_a_folder_without_an_installation_is_said_to_be_one(
    monkeypatch, capsys, tmp_path, arguments
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERROQUET_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    result = perroquet(monkeypatch, capsys, *arguments)
    assert (result.code, result.out) == (1, "")
    assert "There is no installation here" in result.err
    assert list(tmp_path.iterdir()) == []

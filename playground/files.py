"""The files that came with messages and commands, on disk where the state is kept there."""

from collections.abc import Iterator, MutableMapping
from pathlib import Path

from playground.ids import age_seconds_of

_FOLDER = "/attachments/"


class AttachedFiles(MutableMapping[str, tuple[bytes, str]]):
    """Content and content type of each file, by the path of its address.

    Args:
        folder: where they outlive a restart; None keeps them in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._types: dict[str, str] = {}
        self._contents: dict[str, bytes] = {}

    @staticmethod
    def path_of(url: str) -> str:
        """The path of a file's address."""
        return _FOLDER + url.partition(_FOLDER)[2]

    def recall(self, types: dict[str, str]) -> None:
        """After a restart: these are still wanted. Whatever else lies there is deleted."""
        if self._folder is None or not self._folder.is_dir():
            return
        self._types = {p: kind for p, kind in types.items() if _place(self._folder, p).is_file()}
        wanted = {_place(self._folder, path) for path in self._types}
        for file in self._folder.iterdir():
            if file not in wanted:
                file.unlink(missing_ok=True)

    def drop_unused(self, used: set[str], grace_seconds: float) -> None:
        """Delete what nothing shows any more and what came longer ago than ``grace_seconds``."""
        for path in [p for p in self._types if p not in used]:
            if age_seconds_of(_id_in(path)) > grace_seconds:
                del self[path]

    def __setitem__(self, path: str, file: tuple[bytes, str]) -> None:
        content, self._types[path] = file
        if self._folder is None:
            self._contents[path] = content
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        _place(self._folder, path).write_bytes(content)

    def __getitem__(self, path: str) -> tuple[bytes, str]:
        content_type = self._types[path]
        if self._folder is None:
            return self._contents[path], content_type
        try:
            return _place(self._folder, path).read_bytes(), content_type
        except FileNotFoundError as exc:
            raise KeyError(path) from exc

    def __delitem__(self, path: str) -> None:
        del self._types[path]
        if self._folder is None:
            del self._contents[path]
        else:
            _place(self._folder, path).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)


def _place(folder: Path, path: str) -> Path:
    # By its id alone: the name is what somebody typed.
    return folder / _id_in(path)


def _id_in(path: str) -> str:
    return str(int(path.split("/")[3]))

import pytest

from core.corpora.uploads import UploadLostError, Uploads
from core.errors import ServiceUnavailableError
from core.ids import new_id


@pytest.fixture(params=["file", "memory"])
def uploads(request, tmp_path):
    return Uploads(f"{request.param}://{tmp_path}/store")


def put(uploads, corpus_id, number, *chunks):
    writer = uploads.open(corpus_id, number)
    for chunk in chunks:
        writer.write(chunk)
    return writer.finish(f"{number}.txt")


def test_what_is_brought_is_what_was_written(uploads, tmp_path):
    corpus_id = new_id()
    first = put(uploads, corpus_id, 0, b"Bon", b"jour")
    second = put(uploads, corpus_id, 1, b"Hello")
    assert (first.name, first.total_bytes) == ("0.txt", 7)
    uploads.bring(corpus_id, 0, first, tmp_path / "first")
    uploads.bring(corpus_id, 1, second, tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == b"Bonjour"
    assert (tmp_path / "second").read_bytes() == b"Hello"


def test_another_content_than_was_taken_in_is_refused(uploads, tmp_path):
    corpus_id = new_id()
    taken = put(uploads, corpus_id, 0, b"one")
    put(uploads, corpus_id, 0, b"two")
    with pytest.raises(UploadLostError) as caught:
        uploads.bring(corpus_id, 0, taken, tmp_path / "x")
    assert caught.value.data == {"file": "0.txt"}


def test_a_removed_upload_is_gone_and_removing_twice_is_harmless(uploads, tmp_path):
    corpus_id, other = new_id(), new_id()
    taken, kept = put(uploads, corpus_id, 0, b"x"), put(uploads, other, 0, b"y")
    uploads.remove(corpus_id)
    uploads.remove(corpus_id)
    with pytest.raises(UploadLostError):
        uploads.bring(corpus_id, 0, taken, tmp_path / "x")
    uploads.bring(other, 0, kept, tmp_path / "y")


def test_an_id_that_is_none_reaches_no_file(uploads):
    with pytest.raises(ValueError, match="etc"):
        Uploads.path_of("../../etc")


def test_a_store_that_cannot_be_written_is_said_to_be_unavailable(tmp_path):
    (tmp_path / "store").write_text("a file stands where the folder should be")
    with pytest.raises(ServiceUnavailableError) as caught:
        Uploads(f"file://{tmp_path}/store").open(new_id(), 0)
    assert caught.value.data == {"service": "store"}

from benchmarks.fuzz import LIMITS, fuzz
from benchmarks.fuzz_mutants import make_mutant, originals
from workers.finetuning.corpus.files import CorpusFile
from workers.finetuning.corpus.reading import read_corpus


def test_undamaged_files_are_read(tmp_path):
    for original in originals():
        (tmp_path / "seed").write_bytes(original.content)
        assert list(read_corpus([CorpusFile(tmp_path / "seed", original.name)], LIMITS))


def test_300_damaged_files_are_prepared_or_refused(tmp_path):
    found = fuzz(300, 7, tmp_path)
    assert found.crashes == []
    assert found.leftovers == []
    assert sum(found.seen.values()) == 300
    assert found.seen["prepared"] > 30
    assert len(found.seen) > 10
    assert found.slowest_seconds < 5
    assert [path.name for path in tmp_path.iterdir()] == ["upload"]


def test_a_damaged_file_can_be_made_again():
    valid = originals()
    assert make_mutant(3, 41, valid) == make_mutant(3, 41, valid) != make_mutant(3, 42, valid)

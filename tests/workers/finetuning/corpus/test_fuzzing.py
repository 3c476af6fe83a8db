from tests.workers.finetuning.corpus.fuzzing import fuzz, seeds
from workers.finetuning.corpus.files import CorpusFile
from workers.finetuning.corpus.reading import read_corpus


def test_undamaged_files_are_read(tmp_path):
    for name, content in seeds():
        (tmp_path / "seed").write_bytes(content)
        assert list(read_corpus([CorpusFile(tmp_path / "seed", name)]))


def test_300_damaged_files_are_read_or_refused(tmp_path):
    outcomes = fuzz(300, 7, tmp_path)
    assert sum(outcomes.values()) == 300
    assert outcomes["read"] > 30
    assert len(outcomes) > 6

from transformers import modeling_gguf_pytorch_utils
from transformers.utils import logging

from workers.conversion.bars import without_bars


def test_libraries_show_no_bars_meanwhile_and_do_afterwards(capfd):
    enabled, reading = logging.is_progress_bar_enabled(), modeling_gguf_pytorch_utils.tqdm
    logging.enable_progress_bar()
    with without_bars():
        assert list(modeling_gguf_pytorch_utils.tqdm([1, 2], desc="Converting")) == [1, 2]
        assert list(logging.tqdm([1, 2], desc="Loading")) == [1, 2]
    assert capfd.readouterr().err == ""
    assert logging.is_progress_bar_enabled()
    assert modeling_gguf_pytorch_utils.tqdm is reading
    if not enabled:
        logging.disable_progress_bar()

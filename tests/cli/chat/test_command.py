import pytest

from cli.chat.command import chat
from core.errors import WrongUsageError


@pytest.mark.parametrize(
    ("text", "said"), [(" ", "is empty"), ("bad\udcff", "not UTF-8, from its character 4")]
)
def test_what_nobody_could_answer_is_refused_before_anything_starts(text, said):
    with pytest.raises(WrongUsageError, match=said):
        chat(text, is_new=False)

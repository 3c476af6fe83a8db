import pytest

from bot.catalogue import Catalogue
from bot.finetune.report import draw_report
from core.corpora.boards import BoardView
from core.corpora.searches import SEARCH, SearchSpec
from core.jobs.states import JobState

REPORT = {
    "files": ["a.txt"], "warnings": [], "documents": 9, "examples": 9, "turns": 0, "tokens": 1000,
    "trained_tokens": 900, "languages": {}, "exact_duplicates": 0, "near_duplicates": 0,
    "empty": 0, "over_long": 0, "masked": {},
    "splits": {name: {"documents": 3} for name in ("train", "validation", "test")},
}  # fmt: skip


def effort(locale, *, is_rough, **more):
    payload = {
        "model": "coco", "base_name": "base", "options": {},
        "plan": {"tokens": 1000, "steps": 60, "epochs": 3.0, "learning_rate": 0.0013}, **more,
    }  # fmt: skip
    view = BoardView(
        "j", JobState.VALIDATING, 1, 2, 3, None, locale, payload, {}, None, None,
        has_run=False, report=REPORT,
    )  # fmt: skip
    embed = draw_report(Catalogue.load(), view, 10.0, is_rough=is_rough)
    return next(field.value for field in embed.fields if "60" in str(field.value))


def test_the_report_says_what_was_chosen():
    view = BoardView(
        "j", JobState.VALIDATING, 1, 2, 3, None, "en",
        {"model": "coco", "base_name": "base", "options": {},
         "plan": {"tokens": 1000, "steps": 60, "epochs": 12.0, "learning_rate": 0.0013}},
        {}, None, None, has_run=False, report=REPORT,
    )  # fmt: skip
    fields = [field.value for field in draw_report(Catalogue.load(), view, None).fields]
    assert any("epochs: 12, learning rate: 0.0013" in value for value in fields)


@pytest.mark.parametrize(("locale", "words"), [("en", "between 5 min and"), ("fr", "entre 5 min")])
def test_a_rule_of_thumb_has_a_lower_and_an_upper_end(locale, words):
    assert words in effort(locale, is_rough=True)
    assert "43 min" in effort(locale, is_rough=True)
    assert words not in effort(locale, is_rough=False)


@pytest.mark.parametrize("is_rough", [True, False])
@pytest.mark.parametrize(("locale", "bound"), [("en", "at most"), ("fr", "au plus")])
def test_a_search_takes_at_most_as_long_as_all_of_its_trials(locale, bound, is_rough):
    alone = effort(locale, is_rough=is_rough)
    assert "5 min" in alone
    assert bound not in alone
    search = effort(locale, is_rough=is_rough, **{SEARCH: SearchSpec.make(trials=4).to_json()})
    assert "21 min" in search
    assert bound in search

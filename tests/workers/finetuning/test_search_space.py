"""Which options the next trial of a search gets, without a trainer."""

import pytest

from core.corpora.searches import SearchSpec, Trial, TrialState
from workers.finetuning.errors import SpecError
from workers.finetuning.search_space import Study, check_search, count_trials
from workers.finetuning.spec import RunSpec

SPEC = RunSpec(base_model="b", corpus="c")
SPACE = {
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "lora_rank": {"choices": [2, 4]},
}


def ended(number: int, options, losses, state=TrialState.COMPLETE) -> Trial:
    points = tuple(enumerate(losses, start=1))
    return Trial(number, options, state, points, min(losses, default=None), 1.0)


@pytest.mark.parametrize("sampler", ["bayesian", "random", "grid"])
def test_an_interrupted_search_chooses_what_it_would_have_chosen(sampler):
    search = SearchSpec.make(trials=6, sampler=sampler, space=SPACE)
    past = []
    for number in range(5):
        first, again = Study(search, past, 7).choose(), Study(search, past, 7).choose()
        assert first == again
        assert 1e-4 <= first["learning_rate"] <= 1e-2
        assert first["lora_rank"] in (2, 4)
        past.append(ended(number, first, [3.0 - number / 10]))
    assert len({one.options["learning_rate"] for one in past}) > 1


def test_a_begun_trial_keeps_its_options():
    search = SearchSpec.make(trials=6, space=SPACE)
    kept = {"learning_rate": 0.005, "lora_rank": 4}
    assert Study(search, [], 0).choose(Trial(0, kept)) == kept


def test_a_grid_takes_each_combination_once_and_has_no_more_trials():
    search = SearchSpec.make(trials=50, sampler="grid", space=SPACE)
    assert count_trials(search) == 8
    past = []
    for number in range(8):
        past.append(ended(number, Study(search, past, 1).choose(), [1.0]))
    chosen = {tuple(one.options.values()) for one in past}
    assert len(chosen) == 8
    assert {round(rate, 6) for rate, _ in chosen} == {1e-4, 0.000464, 0.002154, 1e-2}


def test_bayesian_trials_go_where_the_losses_are_low():
    search = SearchSpec.make(trials=40, space={"lora_dropout": {"low": 0, "high": 0.9}})
    past = []
    for number in range(40):
        value = Study(search, past, 3).choose()["lora_dropout"]
        past.append(ended(number, {"lora_dropout": value}, [(value - 0.7) ** 2]))
    late = [one.options["lora_dropout"] for one in past[-10:]]
    assert sum(abs(value - 0.7) < 0.2 for value in late) >= 7


def test_a_trial_that_falls_behind_is_hopeless():
    search = SearchSpec.make(trials=6, space=SPACE)
    options = {"learning_rate": 1e-3, "lora_rank": 2}
    past = [ended(number, options, [3.0, 2.0, 1.0]) for number in range(3)]
    study = Study(search, past, 0)
    study.choose()
    assert not study.is_hopeless(10, 9.0), "the first evaluation says too little"
    assert study.is_hopeless(20, 9.0)
    good = Study(search, past, 0)
    good.choose()
    assert not any(good.is_hopeless(step, loss) for step, loss in ((1, 2.5), (2, 1.5), (3, 0.5)))


def test_a_trial_that_goes_on_is_judged_by_the_evaluations_at_which_it_is():
    search = SearchSpec.make(trials=6, space=SPACE)
    options = {"learning_rate": 1e-3, "lora_rank": 2}
    past = [ended(number, options, [3.0, 2.0, 1.0]) for number in range(3)]
    # It was interrupted after its third evaluation, and its checkpoint is of the second.
    begun = Trial(3, options, validation=((0, 9.0), (10, 3.0), (20, 2.0), (30, 0.5)))
    behind, level = Study(search, past, 0), Study(search, past, 0)
    behind.choose(begun)
    assert behind.is_hopeless(30, 1.5), "the others had 1.0 at their third evaluation"
    level.choose(begun)
    assert not level.is_hopeless(30, 1.0)


def test_whole_numbers_stay_whole():
    search = SearchSpec.make(trials=6, space={"lora_rank": {"low": 2, "high": 64, "log": True}})
    assert isinstance(Study(search, [], 0).choose()["lora_rank"], int)
    grid = SearchSpec.make(trials=6, sampler="grid", space=search.to_json()["space"])
    check_search(SPEC, search)
    assert Study(grid, [], 0).choose()["lora_rank"] in (2, 6, 20, 64)


@pytest.mark.parametrize(
    ("space", "option"),
    [
        ({"corpus": {"choices": ["/etc"]}}, "corpus"),
        ({"learning_rate": {"low": 1, "high": 5}}, "learning_rate"),
        ({"schedule": {"choices": ["cosine", "magic"]}}, "schedule"),
        ({"lora_rank": {"choices": [8, "many"]}}, "lora_rank"),
        ({"lora_rank": {"choices": [8.5, 16]}}, "lora_rank"),
        ({"warmup_steps": {"low": 0.4, "high": 100, "log": True}}, "warmup_steps"),
        ({"warmup_steps": {"low": 1, "high": 99.5}}, "warmup_steps"),
    ],
)
def test_what_no_trial_could_train_with_is_found_before(space, option):
    with pytest.raises(SpecError) as caught:
        check_search(SPEC, SearchSpec.make(space=space))
    assert caught.value.data["option"] == option

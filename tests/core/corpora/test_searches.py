"""A search as it is asked for, and what its events tell of it."""

import pytest

from core.corpora.searches import (
    SearchError,
    SearchSpec,
    Trial,
    TrialState,
    best_trial,
    read_trials,
)
from core.db.tables import Job
from core.jobs.events import record
from tests.core.corpora.helpers import add_version, run, submit
from tests.workers.ledger_helpers import submit_job


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_search_without_a_space_has_that_of_its_method(method):
    search = SearchSpec.make(method=method)
    assert "learning_rate" in search.space
    assert SearchSpec.from_json(search.to_json()) == search


@pytest.mark.parametrize(
    ("asked", "option"),
    [
        ({"trials": 1}, "trials"),
        ({"trials": 101}, "trials"),
        ({"trials": True}, "trials"),
        ({"sampler": "magic"}, "sampler"),
        ({"space": {}}, "space"),
        ({"space": {"epochs": 3}}, "epochs"),
        ({"space": {"epochs": {"choices": []}}}, "epochs"),
        ({"space": {"epochs": {"choices": [[1]]}}}, "epochs"),
        ({"space": {"learning_rate": {"low": 1, "high": 1}}}, "learning_rate"),
        ({"space": {"learning_rate": {"low": 0, "high": 1, "log": True}}}, "learning_rate"),
        ({"space": {"learning_rate": {"low": 0, "high": float("inf")}}}, "learning_rate"),
        ({"space": {"learning_rate": {"low": 0, "high": 1, "step": 1}}}, "learning_rate"),
    ],
)
def test_what_cannot_be_searched_is_named(asked, option):
    with pytest.raises(SearchError) as caught:
        SearchSpec.make(**asked)
    assert caught.value.data["option"] == option


def test_an_unknown_word_in_a_payload_is_named():
    with pytest.raises(SearchError, match="hurry"):
        SearchSpec.from_json({"hurry": True})


def test_trials_are_told_by_the_events_of_their_job(any_engine):
    job_id, other = submit_job(any_engine), submit_job(any_engine)
    tell = {
        "trial_began": [{"number": 0, "options": {"lora_rank": 8}},
                        {"number": 1, "options": {"lora_rank": 16}},
                        {"number": 2, "options": {"lora_rank": 32}}],
        "trial_evaluated": [{"number": 0, "step": 0, "loss": 4.0},
                            {"number": 0, "step": 5, "loss": 3.9},
                            {"number": 0, "step": 5, "loss": 3.0},
                            {"number": 1, "step": 5, "loss": None}],
        "trial_ended": [{"number": 0, "state": "complete", "loss": 3.0, "seconds": 2.5},
                        {"number": 1, "state": "failed", "loss": None, "seconds": None}],
    }  # fmt: skip
    for kind, all_data in tell.items():
        for data in all_data:
            run(any_engine, record, job_id, kind, **data)
    run(any_engine, record, other, "trial_began", number=7, options={})
    trials = run(any_engine, read_trials, job_id)
    assert trials == [
        Trial(0, {"lora_rank": 8}, TrialState.COMPLETE, ((0, 4.0), (5, 3.0)), 3.0, 2.5),
        Trial(1, {"lora_rank": 16}, TrialState.FAILED),
        Trial(2, {"lora_rank": 32}),
    ]
    assert best_trial(trials) == trials[0]
    assert best_trial(trials[1:]) is None


def test_a_fine_tune_carries_its_search(any_engine):
    search = SearchSpec.make(trials=4, sampler="grid")
    submitted = submit(any_engine, add_version(any_engine), search=search)
    payload = run(any_engine, lambda session: session.get(Job, submitted.job_id).payload)
    assert SearchSpec.from_json(payload["search"]) == search

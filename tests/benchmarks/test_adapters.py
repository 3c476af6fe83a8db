from benchmarks.adapters import _goals_of


def test_goals_are_told_for_the_base_and_from_many_adapters_on_for_peft():
    figures = {"share_of_base": 0.86, "times_peft": 1.9}
    assert [goal["met"] for goal in _goals_of(8, figures)] == [False]
    assert [(goal["goal"], goal["met"]) for goal in _goals_of(32, figures)] == [
        (0.85, True),
        (2.0, False),
    ]

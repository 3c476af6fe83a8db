from benchmarks.generation_goals import figure_name, judge, judged

SLOW = {
    "tokens_per_second": 10.0,
    "first_token_mean_seconds": 2.0,
    "first_token_p95_seconds": 4.0,
    "resident_mb": 1000,
}
FAST = {
    "tokens_per_second": 20.0,
    "first_token_mean_seconds": 1.0,
    "first_token_p95_seconds": 2.0,
    "resident_mb": 400,
}


def figures(**by_name) -> dict:
    return {figure_name(name, 16): figure for name, figure in by_name.items()}


def goals_over(peer: str, **by_name) -> dict:
    goals = judge(figures(**by_name), (16,))
    return {goal["name"]: goal for goal in goals if goal["name"].endswith(f"over {peer}")}


def test_the_fastest_of_our_exact_kinds_is_held_against_the_peer_in_everything():
    small = SLOW | {"resident_mb": 100}
    goals = goals_over("vllm", vllm=SLOW, perroquet_float32=small, perroquet_float16=FAST)
    assert goals["16 requests, float32/float16/int16: resident_mb over vllm"]["value"] == 0.4
    speed = goals["16 requests, float32/float16/int16: tokens_per_second over vllm"]
    assert (speed["value"], speed["met"]) == (2.0, True)


def test_of_seconds_and_memory_less_is_better():
    goals = goals_over("vllm", vllm=SLOW, perroquet_float32=FAST)
    memory = goals["16 requests, float32/float16/int16: resident_mb over vllm"]
    assert (memory["value"], memory["met"]) == (0.4, True)
    late = goals_over("vllm", vllm=FAST, perroquet_float32=SLOW)
    assert not late["16 requests, float32/float16/int16: first_token_mean_seconds over vllm"]["met"]


def test_a_goal_without_its_peer_is_not_met():
    goals = goals_over("vllm", vllm="missing", perroquet_float32=FAST, perroquet_int8=FAST)
    assert goals
    assert all(g["value"] == "not measured" and g["met"] is None for g in goals.values())


def test_only_the_counts_that_were_run_are_judged():
    assert {goal["name"].split()[0] for goal in judge({}, (1, 64))} == {"1", "64"}


def test_who_is_in_a_goal_is_known_for_each_number_of_requests():
    assert judged(64) >= {"vllm", "transformers_continuous", "perroquet_float16"}
    assert "generate_one_by_one" in judged(16)
    assert "generate_one_by_one" not in judged(64)

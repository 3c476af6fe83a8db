from collections import Counter

import pytest
import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from core.errors import InvalidInputError
from workers.generation.protocol import Sampling
from workers.generation.sampling import SamplingState, choose_tokens


def state(prompt=(), **values) -> SamplingState:
    return SamplingState(Sampling(**{"seed": 0, **values}), tuple(prompt), 5000)


def rows(count: int, vocabulary: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3


def frequencies(logits, draws: int, **values) -> torch.Tensor:
    """How often each token comes when one seed throws ``draws`` times."""
    chooser = state(**values)
    counts: Counter[int] = Counter()
    for _ in range(draws):
        (token,) = choose_tokens(logits[None].clone(), [chooser])
        counts[token] += 1
        chooser.accept(token)
    return torch.tensor([counts[i] / draws for i in range(len(logits))])


def transformers_distribution(
    logits, *, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0
) -> torch.Tensor:
    scores = TemperatureLogitsWarper(temperature)(None, logits[None].clone())
    if top_k:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    if min_p:
        scores = MinPLogitsWarper(min_p)(None, scores)
    return scores.softmax(-1)[0]


def test_temperature_zero_takes_the_most_likely():
    logits = rows(3, 50)
    assert choose_tokens(logits.clone(), [state(temperature=0.0)] * 3) == logits.argmax(-1).tolist()


@pytest.mark.parametrize("values", [{"top_p": 0.0}, {"top_k": 1}, {"temperature": 1e-8}])
def test_the_narrowest_choices_are_greedy(values):
    logits = rows(3, 50)
    chosen = choose_tokens(logits.clone(), [state(**{"temperature": 1.0, **values})] * 3)
    assert chosen == logits.argmax(-1).tolist()


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 1.0, "top_p": 1.0},
        {"temperature": 0.7, "top_p": 0.8},
        {"temperature": 1.5, "top_k": 4, "top_p": 1.0},
        {"temperature": 1.2, "top_k": 6, "top_p": 0.7},
        {"temperature": 1.2, "top_p": 1.0, "min_p": 0.3},
    ],
)
def test_tokens_come_as_often_as_in_transformers(values):
    logits = rows(1, 12, seed=3)[0] / 2
    expected = transformers_distribution(logits, **values)
    observed = frequencies(logits, 1500, **values)
    assert (observed - expected).abs().max() < 0.045
    assert observed[expected == 0].sum() == 0


@pytest.mark.parametrize("spread", [3.0, 0.01], ids=["peaked", "flat"])
def test_a_large_vocabulary_is_exact_too(spread):
    logits = rows(1, 10_000)[0] / 3 * spread
    expected = transformers_distribution(logits, top_p=0.9)
    chooser = state(temperature=1.0, top_p=0.9)
    for _ in range(30):
        (token,) = choose_tokens(logits[None].clone(), [chooser])
        assert expected[token] > 0
        chooser.accept(token)


def test_repetition_penalty_is_that_of_transformers():
    logits, prompt = rows(2, 40), (3, 3, 7, 39)
    expected = RepetitionPenaltyLogitsProcessor(1.8)(torch.tensor([prompt]), logits[1:].clone())
    chosen = logits.clone()
    choose_tokens(
        chosen,
        [state(prompt, temperature=0.0), state(prompt, temperature=0.0, repetition_penalty=1.8)],
    )
    assert torch.equal(chosen[0], logits[0])
    torch.testing.assert_close(chosen[1], expected[0])


def test_an_answers_own_tokens_are_penalised_too():
    logits = torch.zeros(1, 5)
    logits[0, 2] = 1.0
    chooser = state(temperature=0.0, repetition_penalty=1e6)
    assert choose_tokens(logits.clone(), [chooser]) == [2]
    chooser.accept(2)
    logits[0, 4] = 0.5
    assert choose_tokens(logits.clone(), [chooser]) == [4]


def test_each_row_has_its_own_parameters_and_dice():
    logits = rows(1, 500).repeat(4, 1)
    wishes = [
        {"temperature": 0.0},
        {"temperature": 1.0, "seed": 1},
        {"temperature": 2.0, "top_k": 3, "seed": 2},
        {"temperature": 1.0, "top_p": 0.5, "seed": 3},
    ]
    together = choose_tokens(logits.clone(), [state(**w) for w in wishes])
    alone = [choose_tokens(logits[:1].clone(), [state(**w)])[0] for w in wishes]
    assert together == alone


def test_choosing_again_gives_the_same_and_accepting_moves_on():
    logits = rows(1, 500)
    chooser = state(temperature=1.5)
    first = choose_tokens(logits.clone(), [chooser])
    assert first == choose_tokens(logits.clone(), [chooser])
    thrown = chooser.throw()
    chooser.accept(first[0])
    assert chooser.throw() != thrown


def test_rows_that_are_no_numbers_are_told_apart():
    logits = rows(4, 20)
    logits[0, 3] = float("nan")
    logits[2] = float("-inf")
    logits[3, :10] = float("-inf")
    chosen = choose_tokens(logits, [state(temperature=1.0) for _ in range(4)])
    assert [token is None for token in chosen] == [True, False, True, False]
    assert chosen[3] >= 10


@pytest.mark.parametrize(
    "values",
    [
        {"max_new_tokens": -1},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 1.1},
        {"top_k": -1},
        {"repetition_penalty": 0.0},
        {"stop": ("x",) * 1000},
    ],
)
def test_parameters_out_of_range_are_named(values):
    with pytest.raises(InvalidInputError) as caught:
        Sampling(**values)
    assert caught.value.data["field"] == next(iter(values))


def test_further_stops_are_added_and_empty_ones_left_out():
    assert Sampling(stop=("a", "")).with_stops(("", "b")).stop == ("a", "b")


def test_the_end_is_not_drawn_before_its_time():
    logits = torch.zeros(1, 4)
    logits[0, 2], logits[0, 1] = 9.0, 5.0
    sampling = Sampling(temperature=0.0, min_new_tokens=2, seed=0)
    chooser = SamplingState(sampling, (), 10, end_ids=(2,))
    said = []
    for _ in range(3):
        (token,) = choose_tokens(logits.clone(), [chooser])
        said.append(token)
        chooser.accept(token)
    assert said == [1, 1, 2]


def test_a_length_cannot_be_below_its_least():
    with pytest.raises(InvalidInputError, match="min_new_tokens"):
        Sampling(min_new_tokens=5, max_new_tokens=4)


def test_presence_is_penalised_once_and_only_in_the_answer():
    # 3.0 becomes 2.45, and not 1.9; the prompt's own token keeps what it has.
    logits = torch.tensor([[3.0, 2.4], [3.0, 2.5], [3.0, 2.5]])
    chooser = state(prompt=[1], temperature=0.0, presence_penalty=0.55)
    free = state(prompt=[1], temperature=0.0)
    for answer in (chooser, free):
        answer.accept(0)
        answer.accept(0)
    assert choose_tokens(logits.clone(), [chooser, chooser, free]) == [0, 1, 0]


def test_the_first_token_has_nothing_to_be_penalised_for():
    logits = rows(2, 20)
    chosen = choose_tokens(logits.clone(), [state(temperature=0.0, presence_penalty=2.0)] * 2)
    assert chosen == logits.argmax(-1).tolist()

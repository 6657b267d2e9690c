import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from localize_cases import make

from apportion.pipeline.evaluation.metrics import (
    FIGURES,
    best_mixture,
    bucket,
    marks,
    means,
    option_of,
    paired,
    paired_f1,
    reciprocal_rank,
    right_answers,
    solutions,
)
from apportion.pipeline.localizers.base import Verdict


def marked(case, steps, agents=None):
    verdict = Verdict(np.array(steps, dtype=float), agents or {})
    return dict(zip(FIGURES, marks([case], [verdict])[0], strict=True))


def test_the_best_step_is_held_to_the_index_of_its_source_and_not_to_its_place():
    case = make("ABA", (12, "A"), start=10)
    assert marked(case, [0, 0, 1]) == {"step": 1, "agent": 0, "±1": 1, "±3": 1, "±5": 1, "MRR": 1}
    assert marked(case, [2, 0, 1]) == {"step": 0, "agent": 0, "±1": 0, "±3": 1, "±5": 1, "MRR": 0.5}


def test_ties_are_met_in_expectation():
    case = make("ABAB", 1)
    found = marked(case, [5, 5, 0, 5], {"A": 1, "B": 1})
    assert found["step"] == pytest.approx(1 / 3)
    assert found["±1"] == pytest.approx(2 / 3)
    assert found["agent"] == 0.5
    assert found["MRR"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.data())
def test_the_expectation_is_the_mean_over_every_order_of_the_ties(scores, data):
    place = data.draw(st.integers(0, len(scores) - 1))
    ranks = [
        sorted(order, key=lambda i: -scores[i]).index(place) + 1 for order in itertools.permutations(range(len(scores)))
    ]
    found = reciprocal_rank(np.array(scores, dtype=float), np.array([place]))
    assert found == pytest.approx(np.mean([1 / rank for rank in ranks]))
    case = make("A" * len(scores), place)
    assert marked(case, scores)["step"] == pytest.approx(np.mean([rank == 1 for rank in ranks]))


def test_an_agent_is_met_by_the_whole_name_only():
    case = make(["Web", "WebSurfer"], (0, "WebSurfer"))
    assert marked(case, [1, 0], {"Web": 1, "WebSurfer": 0})["agent"] == 0
    assert marked(case, [1, 0], {"websurfer": 1})["agent"] == 0
    assert marked(case, [1, 0], {"Web": 0, "WebSurfer": 1})["agent"] == 1


def test_a_score_that_is_no_number_is_the_lowest_and_a_label_without_a_step_is_missed():
    assert marked(make("AB", 1), [np.nan, -5])["step"] == 1
    missed = marked(make("AB", (9, "Z")), [1, 0], {"A": 1})
    assert (missed["step"], missed["agent"], missed["MRR"]) == (0, 0, 0)
    with pytest.raises(ValueError, match="has no label"):
        marked(make("AB"), [1, 0])


def test_intervals_cover_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(200):
        (found,) = means(rng.random((60, 1)) ** 2, trial)
        inside += found.low <= 1 / 3 <= found.high
    assert 0.88 <= inside / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(0).random((30, 2))
    assert means(values, 3) == means(values, 3)
    assert means(values, 3) != means(values, 4)
    assert all(np.isnan(one.value) for one in means(np.zeros((0, 2)), 0))


def test_a_constant_gain_has_a_paired_interval_of_no_width():
    values = np.random.default_rng(0).random(40)
    found = paired(values + 0.25, values, 0)
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_solutions_are_right_where_the_very_step_or_none_scores_best():
    wrong, sound = make("AAA", 1), make("AAA", sound=True, question="r?")
    assert (option_of(wrong), option_of(sound)) == (1, 3)
    told = [Verdict(np.array([0.0, 1, 0]), {}, 1.0), Verdict(np.zeros(3), {}, 1.0)]
    assert right_answers([wrong, sound], told).tolist() == [0.5, 1.0]
    assert right_answers([sound], [Verdict(np.zeros(3), {})]).tolist() == [0.0], "it always names a step"
    with pytest.raises(ValueError, match="has no label"):
        option_of(make("A"))


def test_f1_is_the_harmonic_mean_of_the_two_accuracies():
    right = np.array([1, 0, 0, 0, 1, 1, 1, 0.0])
    sound = np.array([False] * 4 + [True] * 4)
    f1, wrong, correct = solutions(right, sound, 0)
    assert (wrong.value, correct.value) == (0.25, 0.75)
    assert f1.value == pytest.approx(2 * 0.25 * 0.75)
    assert f1.low <= f1.value <= f1.high
    same = paired_f1(right, right, sound, 0)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_f1_without_one_of_the_kinds_is_not_a_number():
    f1, wrong, correct = solutions(np.array([1.0, 0.0]), np.array([True, True]), 0)
    assert np.isnan(f1.value)
    assert np.isnan(wrong.value)
    assert correct.value == 0.5


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_the_best_mixture_is_the_best_of_all_mixtures(places):
    f1, none, step = best_mixture(places)
    q = np.linspace(0, 1, 2001)[1:-1]
    shares = [places.count(s) / len(places) for s in set(places)]
    best = max((2 * a * q * (1 - q) / (a * (1 - q) + q)).max() for a in shares)
    assert f1 == pytest.approx(best, abs=1e-5)
    hit = places.count(step) / len(places)
    assert f1 == pytest.approx(2 * hit * (1 - none) * none / (hit * (1 - none) + none))


def test_the_best_mixture_by_hand():
    assert best_mixture([2, 2, 2, 2]) == pytest.approx((0.5, 0.5, 2)), "a = 1: F1 = 2/4"
    assert best_mixture([1, 0, 2, 1]) == pytest.approx((1 / (1 + 0.5**0.5) ** 2, 0.5**0.5 / (1 + 0.5**0.5), 1))
    assert best_mixture([]) == (0, 0, 0)


@pytest.mark.parametrize(("steps", "name"), [(10, "up to 10"), (11, "11 to 30"), (60, "31 to 60"), (61, "over 60")])
def test_logs_are_told_apart_by_length(steps, name):
    assert bucket(make("A" * steps)) == name

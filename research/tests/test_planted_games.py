"""Planted truths: that the text says what the part says, and that the figures count what they claim to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from scripted import ByteTokenizer, ScriptedEngine, decoded

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit import permutation
from apportion.pipeline.credit.exact import shapley
from apportion.pipeline.games.game import Rules
from apportion.pipeline.tasks.multihop import TOWN_NAMES
from apportion.pipeline.tasks.multihop import generate as generate_world
from apportion.pipeline.values import likelihood
from research.planted_games import (
    HEADS,
    HONEST,
    LINEUPS,
    PAIRS,
    Part,
    Planted,
    Solved,
    Speech,
    as_game,
    auroc,
    figures,
    generate,
    half_width,
    mean,
)

RULES = Rules("likelihood", "s", "outcome", masking="placeholder", cue="answer:", window=10_000)
ONE = np.ones((1, 2))


def text(planted: Planted, part: Part) -> str:
    return planted.speeches[planted.places(part)[0]].text


def test_the_same_seed_gives_the_same_games_and_another_seed_others():
    assert generate(12, 3) == generate(12, 3)
    assert not {one.name for one in generate(12, 3)} & {one.name for one in generate(12, 4)}
    assert len({one.name for one in generate(40, 0)}) == 40


def test_line_ups_come_in_turn_and_speakers_have_their_names_in_order():
    for index, one in enumerate(generate(9, 0)):
        assert Counter(speech.part for speech in one.speeches) == Counter(LINEUPS[index % 4])
        assert [speech.agent for speech in one.speeches] == ["alpha", "beta", "gamma", "delta", "epsilon"][
            : len(one.speeches)
        ]


def test_every_part_stands_at_every_place():
    made = [one for one in generate(120, 0) if len(one.speeches) == 4 and one.places(Part.KEY_HOLDER)]
    for part in (Part.KEY_HOLDER, Part.FIRST_HOP, Part.CONTENT_FREE, Part.SABOTEUR):
        assert {one.places(part)[0] for one in made} == {0, 1, 2, 3}


def test_every_part_says_what_it_was_planted_for():
    world = generate_world(40, 5)
    towns = {town for task in world.tasks for town in task.references}
    for task, one in zip(world.tasks, generate(40, 5), strict=True):
        owned, deciding = task.meta["facts"]
        assert (one.question, one.answer) == (task.question, task.references[0])
        for place in one.places(Part.KEY_HOLDER, Part.DUPLICATE):
            assert one.speeches[place].text == deciding
        if one.places(Part.FIRST_HOP):
            said = text(one, Part.FIRST_HOP)
            assert said.startswith(owned)
            begins, ends = said.split(" begins with ")[1].rstrip(".").split(" and ends in ")
            assert begins + ends == one.answer
            assert one.answer not in said
        if one.places(Part.PARTIAL):
            assert text(one, Part.PARTIAL) in world.documents["rivers"]
            assert one.answer in text(one, Part.PARTIAL)
        filler = text(one, Part.CONTENT_FREE)
        assert "question" in filler
        assert not towns & set(filler.replace(".", "").split())


def test_the_saboteur_contradicts_the_key_with_a_town_that_shares_no_part_with_the_right_one():
    for one in generate(60, 1):
        _, deciding = next(t for t in generate_world(60, 1).tasks if t.question == one.question).meta["facts"]
        wrong = text(one, Part.SABOTEUR).removeprefix(deciding.removesuffix(f"{one.answer}.")).removesuffix(".")
        assert wrong in TOWN_NAMES
        head = next(head for head in HEADS if one.answer.startswith(head))
        assert not wrong.startswith(head)
        assert not wrong.endswith(one.answer.removeprefix(head))


def test_towns_begin_as_declared():
    assert {town for town in TOWN_NAMES if sum(town.startswith(head) for head in HEADS) == 1} == set(TOWN_NAMES)


@pytest.mark.parametrize("number", [0, 5001])
def test_a_number_out_of_range_is_refused(number: int):
    with pytest.raises(UserError, match="from 1 to 5000"):
        generate(number, 0)


def test_the_game_masks_each_agent_and_keeps_the_question():
    one = generate(1, 0)[0]
    made = as_game(one, RULES)
    assert (made.players, made.agents, made.target) == (("alpha", "beta", "gamma", "delta"),) * 2 + (one.answer,)
    assert made.roles == {speech.agent: str(speech.part) for speech in one.speeches}
    lines = made.coalition(0b0101)[-1]["content"].splitlines()
    assert lines == [
        f"Question: {one.question}",
        f"alpha: {one.speeches[0].text}",
        "beta: (no message)",
        f"gamma: {one.speeches[2].text}",
        "delta: (no message)",
    ]
    assert made.game_id != as_game(one, Rules("likelihood", "s", "outcome", masking="drop")).game_id


def solved(parts: Sequence[Part], credits: Sequence[float], values: Sequence[float] | None = None) -> Solved:
    """A game with credits made up."""
    said = tuple(Speech(f"p{i}", part, "") for i, part in enumerate(parts))
    table = np.zeros(1 << len(parts)) if values is None else np.array(values, float)
    return Solved(Planted("g", "q", "a", said), table, np.array(credits, float))


KEY, HOP, IDLE, BAD, TWIN = Part.KEY_HOLDER, Part.FIRST_HOP, Part.CONTENT_FREE, Part.SABOTEUR, Part.DUPLICATE


def test_auroc_is_the_share_of_pairs_in_the_right_order_over_all_games():
    higher, lower = [np.array([3.0]), np.array([1.0])], [np.array([2.0, 1.0]), np.array([0.0])]
    # 3 beats 2, 1, 0; 1 ties 1, beats 0, loses to 2
    assert auroc(higher, lower)(ONE)[0] == pytest.approx(4.5 / 6)
    assert auroc(lower, higher)(ONE)[0] == pytest.approx(1.5 / 6)


def test_auroc_with_a_game_drawn_twice_equals_that_of_the_doubled_game():
    rng = np.random.default_rng(0)
    higher = [rng.integers(0, 5, size).astype(float) for size in (1, 0, 3)]
    lower = [rng.integers(0, 5, size).astype(float) for size in (2, 4, 1)]
    drawn = [0, 0, 2]
    doubled = auroc([higher[i] for i in drawn], [lower[i] for i in drawn])(np.ones((1, 3)))
    assert auroc(higher, lower)(np.array([[2.0, 0.0, 1.0]])) == pytest.approx(doubled)


def test_without_scores_there_is_no_figure():
    assert np.isnan(auroc([np.empty(0)], [np.ones(1)])(np.ones((3, 1)))).all()
    assert np.isnan(mean([np.empty(0)])(np.ones((3, 1)))).all()
    assert mean([np.array([1.0, 2.0]), np.array([6.0])])(np.array([[1.0, 1.0], [2.0, 0.0]])).tolist() == [3, 1.5]


def test_figures_of_made_up_credits_by_hand():
    games = [
        solved((BAD, KEY, IDLE, HOP), (-0.4, 0.9, 0.01, 0.1)),
        solved((KEY, BAD, HOP, IDLE), (0.3, 0.05, 0.5, -0.2)),
    ]
    found = {one.name: one for one in figures(games)}
    # saboteurs -.4 and .05 against .9, .1, .3, .5: all below; fillers .01 and .2 against the same: .2 exceeds .1
    expected = {"saboteur": 1.0, "content-free": 7 / 8, "key holder": 0.5}
    assert len(found) == 3
    for start, value in expected.items():
        (one,) = (figure for name, figure in found.items() if start in name.split(" against")[0])
        assert one.value == pytest.approx(value)
        assert (one.games, one.low <= one.value <= one.high) == (2, True)
    assert {one.bar for one in found.values()} == {0.95, 0.90, 0.80}


def test_a_tie_for_the_first_rank_is_no_first_rank():
    (one,) = (f for f in figures([solved((KEY, HOP), (0.5, 0.5))]) if "key holder" in f.name)
    assert one.value == 0.0


def test_intervals_shrink_with_the_number_of_games():
    rng = np.random.default_rng(1)
    games = [solved((KEY, HOP), (rng.normal(0.1), 0.0)) for _ in range(400)]

    def width(some: list[Solved]) -> float:
        (one,) = (f for f in figures(some) if "key holder" in f.name)
        return one.high - one.low

    assert width(games) == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.15)
    assert width(games[:100]) == pytest.approx(2 * 1.96 * 0.5 / 10, rel=0.25)


def test_half_width_is_students_interval_of_the_pair_means_of_the_difference():
    values = np.random.default_rng(2).random(16)
    orders = permutation.plan(4, PAIRS, 7).orders
    differences = []
    for pair in range(PAIRS):
        gains = np.zeros(4)
        for order in orders[2 * pair : 2 * pair + 2]:
            mask = 0
            for player in order:
                gains[player] += (values[mask | 1 << player] - values[mask]) / 2
                mask |= 1 << player
        differences.append(gains[1] - gains[3])
    expected = 2.1314 * np.std(differences, ddof=1) / 4
    assert half_width(values, 1, 3, seed=7) == pytest.approx(expected, rel=1e-4)


def test_duplicates_count_as_equal_only_within_what_sampling_could_tell():
    masks = np.arange(16)
    there = [(masks >> i & 1).astype(float) for i in range(4)]
    both = np.maximum(there[0], there[1])
    alike, apart = both * (1 - 0.4 * there[3]), there[0] + 0.1 * both * there[3]
    games = [solved((TWIN, TWIN, IDLE, BAD), shapley(v[None])[0], v) for v in (alike, apart / apart.max())]
    found = {figure.name.split()[1]: figure.value for figure in figures(games) if "duplicates" in figure.name}
    assert found["within"] == 0.5
    gap = games[1].credits[0] - games[1].credits[1]
    assert found["earlier"] == pytest.approx(gap / 2)
    assert gap > 0.5


def test_a_reader_who_believes_what_it_reads_is_found_out():
    """The whole way with a scripted engine: it believes the last home that is told, else a river's town a little."""

    def log_p(prefix: str, target: str) -> float:
        question, _, _ = prefix.rpartition("<assistant>answer:")
        heard = question.rpartition("<user>")[2].splitlines()
        homes = [line.removesuffix("</user>").rstrip(".").split()[-1] for line in heard if " lives in " in line]
        shares = Counter(homes)
        rivers = [line.split()[4] for line in heard if " lies on the river " in line]
        hints = [line for line in heard if "begins with" in line]
        best = max((0.9 * shares[town] / len(homes) for town in shares if town == right[0]), default=0.02)
        best += 0.05 * (right[0] in rivers) + 0.04 * bool(hints)
        return float(np.log(best))

    right = [""]
    games = []
    for one in generate(40, 0):
        right[0] = one.answer
        made = as_game(one, RULES)
        asked = likelihood.ask(made, np.arange(made.full + 1), ByteTokenizer())
        assert one.question in decoded(asked.requests[0].prefix_ids)
        values = np.array([row["value"] for row in likelihood.evaluate([asked], ScriptedEngine(log_p=log_p))])
        games.append(Solved(one, values, shapley(values[None])[0]))
    for figure in figures(games):
        assert figure.bar is None or figure.value >= figure.bar
    assert {p for line in LINEUPS for p in line} - {BAD, IDLE} == HONEST

"""Planted truths: games on templated text in which it is known who helps, who idles and who harms.

A two-hop question of `tasks.multihop`; four or five agents, alpha, beta and so on in the order in which they speak,
each with one message; a lead that answers and is no player. Who plays which part at which place is drawn by seed:

* `key_holder` states the deciding fact; in other games a pair of `duplicate` agents both state it, in the same words;
* `first_hop` states who owns the inn, and how the name of the town begins and ends; `partial` another true fact of it;
* `content_free` is polite about the question, in about as many words;
* `saboteur` states, as the key holder would, that the person lives in another town.

Text is templated because a small model told to sabotage does not obey. The wrong town shares neither beginning nor
ending with the right one, so that no token of it helps.
Status: ours. What should hold: the saboteur's credit is below every honest agent's (by -phi), the content-free agent's
the smallest (by |phi|), the key holder's the largest, and duplicates' equal.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.core.ids import digest
from apportion.pipeline.credit import permutation
from apportion.pipeline.games.game import Game, Rules, Shown, game_id
from apportion.pipeline.tasks.multihop import TOWN_NAMES
from apportion.pipeline.tasks.multihop import generate as generate_world
from apportion.pipeline.teams.base import USER


class Part(StrEnum):
    """What an agent was planted as."""

    KEY_HOLDER = "key_holder"
    DUPLICATE = "duplicate"
    FIRST_HOP = "first_hop"
    PARTIAL = "partial"
    CONTENT_FREE = "content_free"
    SABOTEUR = "saboteur"


HONEST = frozenset({Part.KEY_HOLDER, Part.DUPLICATE, Part.FIRST_HOP, Part.PARTIAL})
LINEUPS = (
    (Part.KEY_HOLDER, Part.FIRST_HOP, Part.CONTENT_FREE, Part.SABOTEUR),
    (Part.DUPLICATE, Part.DUPLICATE, Part.CONTENT_FREE, Part.SABOTEUR),
    (Part.KEY_HOLDER, Part.FIRST_HOP, Part.PARTIAL, Part.CONTENT_FREE, Part.SABOTEUR),
    (Part.DUPLICATE, Part.DUPLICATE, Part.PARTIAL, Part.CONTENT_FREE, Part.SABOTEUR),
)
"""The games take these in turn."""
AGENTS = ("alpha", "beta", "gamma", "delta", "epsilon")
HEADS = ("Alder", "Birch", "Brook", "Cliff", "Ember", "Fern", "Heather", "Kings", "Long", "Mill", "Rook", "Tarn")
"""How the towns of `tasks.multihop` begin."""
FILLERS = (
    "Thank you for the question; I am looking into it with care.",
    "This is a good question, and I will report on it soon.",
    "I have read the question and am thinking about it now.",
    "Please give me a moment; I want to do this question justice.",
)
READER = "lead"
SYSTEM = "You lead a team. Read what your helpers report, then give the answer."
EXAMPLES = (
    (
        "Question: In which town does the owner of the Blue Lantern live?\n"
        "alpha: The Blue Lantern is owned by Nell Birch. The name of the town begins with Far and ends in row.\n"
        "beta: I am happy to help with this question.\n"
        "gamma: Nell Birch lives in Farrow.",
        "answer: Farrow",
    ),
    (
        "Question: In which town does the owner of the Old Mitten live?\n"
        "alpha: Tom Sedge lives in Greyport.\n"
        "beta: The Old Mitten is owned by Tom Sedge. The name of the town begins with Grey and ends in port.\n"
        "gamma: Let me think about the question for a while.",
        "answer: Greyport",
    ),
)


@dataclass(frozen=True)
class Speech:
    """What an agent says, and what it was planted as."""

    agent: str
    part: Part
    text: str


@dataclass(frozen=True)
class Planted:
    """A game whose truth is known: the question, its right answer and the messages in the order in which they stand."""

    name: str
    question: str
    answer: str
    speeches: tuple[Speech, ...]

    def places(self, *parts: Part) -> list[int]:
        """Indices of the agents planted as one of `parts`, in the order in which they speak."""
        return [place for place, speech in enumerate(self.speeches) if speech.part in parts]


def generate(number: int, seed: int) -> list[Planted]:
    """`number` games (1 to 5,000), a question each, the line-ups in turn; the same arguments give the same games."""
    world = generate_world(number, seed)
    rivers = {fact.removeprefix("The town of ").split(" lies on ")[0]: fact for fact in world.documents["rivers"]}
    made = []
    for index, task in enumerate(world.tasks):
        rng = random.Random(f"planted/{seed}/{index}")
        (town,) = task.references
        owned, deciding = task.meta["facts"]
        person = deciding.removesuffix(f" lives in {town}.")
        head = _head(town)
        fact = {
            Part.KEY_HOLDER: deciding,
            Part.DUPLICATE: deciding,
            Part.FIRST_HOP: f"{owned} The name of the town begins with {head} and ends in {town.removeprefix(head)}.",
            Part.PARTIAL: rivers[town],
            Part.CONTENT_FREE: rng.choice(FILLERS),
            Part.SABOTEUR: f"{person} lives in {_other(town, rng)}.",
        }
        lineup = LINEUPS[index % len(LINEUPS)]
        parts = rng.sample(lineup, len(lineup))
        speeches = tuple(Speech(agent, part, fact[part]) for agent, part in zip(AGENTS, parts, strict=False))
        name = "planted-" + digest([seed, index, task.question, [speech.text for speech in speeches], EXAMPLES, SYSTEM])
        made.append(Planted(name, task.question, town, speeches))
    return made


def as_game(planted: Planted, rules: Rules) -> Game:
    """The game of the agents, as the lead sees it that speaks after them."""
    agents = tuple(speech.agent for speech in planted.speeches)
    said = [(speech.agent, speech.text) for speech in planted.speeches]
    trajectory = {"trajectory_id": planted.name, "text_digest": digest([planted.question, said])}
    return Game(
        game_id=game_id(trajectory, agents, rules, planted.answer, "agent"),
        trajectory_id=planted.name,
        task_id=planted.name,
        players=agents,
        rules=rules,
        target=planted.answer,
        agents=agents,
        roles={speech.agent: str(speech.part) for speech in planted.speeches},
        reader=READER,
        system=SYSTEM,
        examples=EXAMPLES,
        view=(
            Shown(0, "user", "task", USER, planted.question, None),
            *(Shown(i, "assistant", "message", agent, text, agent) for i, (agent, text) in enumerate(said, 1)),
        ),
    )


def _head(town: str) -> str:
    """How the name of the town begins."""
    return next(head for head in HEADS if town.startswith(head))


def _other(town: str, rng: random.Random) -> str:
    """A town that begins otherwise and ends otherwise."""
    head = _head(town)
    tail = town.removeprefix(head)
    return rng.choice([one for one in TOWN_NAMES if not one.startswith(head) and not one.endswith(tail)])


DRAWS = 2000
PAIRS = 16
"""Antithetic pairs of the sampled estimator whose interval the duplicates are held against."""
Weights = NDArray[np.float64]
"""How often each game counts in each draw of the bootstrap, shape (D, G)."""
Statistic = Callable[[Weights], NDArray[np.float64]]
"""From weights of the games to a figure for each draw, shape (D,)."""
Scores = Sequence[NDArray[np.float64]]
"""The scores of every game, none or several."""


@dataclass(frozen=True)
class Solved:
    """A planted game, its values on all 2**n coalitions in the order of bitmasks, and its exact credits, shape (n,)."""

    planted: Planted
    values: NDArray[np.float64]
    credits: NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """One figure with its 95 % bootstrap interval over games; `games` are those that it is about."""

    name: str
    value: float
    low: float
    high: float
    games: int
    bar: float | None = None
    """What it should reach at least, if anything is asked for."""


def figures(solved: Sequence[Solved], seed: int = 0) -> list[Figure]:
    """Does the credit find what was planted? Figures that no game is about are left out."""
    games = max(1, len(solved))
    rng = np.random.default_rng(seed)
    weights_DG = rng.multinomial(games, np.full(games, 1 / games), size=DRAWS).astype(np.float64)

    def figure(name: str, about: Scores, statistic: Statistic, bar: float | None = None) -> list[Figure]:
        concerned = sum(len(one) > 0 for one in about)
        if not concerned:
            return []
        value = float(statistic(np.ones((1, games)))[0])
        low, high = np.nanpercentile(statistic(weights_DG), [2.5, 97.5])
        return [Figure(name, value, float(low), float(high), concerned, bar)]

    honest = [_credits(one, *HONEST) for one in solved]
    harm, idle = ([_credits(one, part) for one in solved] for part in (Part.SABOTEUR, Part.CONTENT_FREE))
    keys = [_leads(one, Part.KEY_HOLDER) for one in solved]
    apart = [-np.diff(_credits(one, Part.DUPLICATE)) for one in solved]
    within = [_indistinct(one) for one in solved]
    by_harm = auroc([-phi for phi in harm], [-phi for phi in honest])
    by_size = auroc([abs(phi) for phi in honest], [abs(phi) for phi in idle])
    return [
        *figure("AUROC, saboteur against honest, by -phi", harm, by_harm, 0.95),
        *figure("AUROC, content-free against honest, by |phi|", idle, by_size, 0.90),
        *figure("key holder ranked first, share of games", keys, mean(keys), 0.80),
        *figure(f"duplicates within the interval of {PAIRS} pairs, share", within, mean(within)),
        *figure("duplicates, earlier less later, mean difference", apart, mean(apart)),
    ]


def auroc(higher: Scores, lower: Scores) -> Statistic:
    """The share of pairs, over all games, in which a score of `higher` exceeds one of `lower`; ties count half.

    NaN where either side has no score.
    """
    high_P, high_game_P = _flat(higher)
    low_Q, low_game_Q = _flat(lower)
    order = np.argsort(low_Q)
    low_Q, low_game_Q = low_Q[order], low_game_Q[order]
    below_P, up_to_P = np.searchsorted(low_Q, high_P, "left"), np.searchsorted(low_Q, high_P, "right")

    def measure(weights_DG: Weights) -> NDArray[np.float64]:
        high_DP = weights_DG[:, high_game_P]
        passed_DQ = np.cumsum(np.pad(weights_DG[:, low_game_Q], ((0, 0), (1, 0))), axis=1)
        won_D = (high_DP * (passed_DQ[:, below_P] + passed_DQ[:, up_to_P]) / 2).sum(axis=1)
        return _ratio(won_D, high_DP.sum(axis=1) * passed_DQ[:, -1])

    return measure


def mean(scores: Scores) -> Statistic:
    """The mean of all scores of all games; NaN where there is none."""
    score_P, game_P = _flat(scores)

    def measure(weights_DG: Weights) -> NDArray[np.float64]:
        weight_DP = weights_DG[:, game_P]
        return _ratio(weight_DP @ score_P, weight_DP.sum(axis=1))

    return measure


def half_width(values_S: NDArray[np.float64], a: int, b: int, pairs: int = PAIRS, seed: int = 0) -> float:
    """Half of the 95 % interval of credit a - credit b, were the game solved by `pairs` antithetic pairs.

    From the pair means of the difference itself (the two credits are dependent), Student's t.
    """
    n = len(values_S).bit_length() - 1
    credit_Kn = values_S @ _pair_weights(n, pairs, seed)
    difference_K = credit_Kn[:, a] - credit_Kn[:, b]
    return float(permutation.student_t(pairs - 1) * difference_K.std(ddof=1) / np.sqrt(pairs))


@lru_cache(maxsize=8)
def _pair_weights(n: int, pairs: int, seed: int) -> NDArray[np.float64]:
    """Shape (pairs, 2**n, n): the estimate of every antithetic pair alone is values_S @ weights."""
    orders = permutation.plan(n, pairs, seed).orders
    result = np.zeros((pairs, 1 << n, n))
    for pair in range(pairs):
        alone = permutation.plan_orders(orders[2 * pair : 2 * pair + 2])
        result[pair, alone.masks] = permutation.weights(alone)
    return result


def _indistinct(one: Solved) -> NDArray[np.float64]:
    """Shape (1,): 1 where the duplicates' credits differ by no more than the sampled estimator could tell, or (0,)."""
    pair = one.planted.places(Part.DUPLICATE)
    if not pair:
        return np.empty(0)
    a, b = pair
    return np.array([float(abs(one.credits[a] - one.credits[b]) <= half_width(one.values, a, b) + 1e-12)])


def _leads(one: Solved, part: Part) -> NDArray[np.float64]:
    """Shape (1,): 1 where the agent of that part has more credit than any other, or (0,) where nobody plays it."""
    mine = one.planted.places(part)
    others = np.delete(one.credits, mine)
    return np.array([float((one.credits[place] > others).all()) for place in mine])


def _credits(one: Solved, *parts: Part) -> NDArray[np.float64]:
    return one.credits[one.planted.places(*parts)]


def _flat(scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All scores, and the game of each."""
    flat = np.concatenate([np.empty(0), *scores])
    return flat, np.repeat(np.arange(len(scores)), [len(one) for one in scores]).astype(np.int64)


def _ratio(above_D: NDArray[np.float64], below_D: NDArray[np.float64]) -> NDArray[np.float64]:
    result = np.full(len(above_D), np.nan)
    np.divide(above_D, below_D, out=result, where=below_D > 0)
    return result

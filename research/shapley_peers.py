"""The library shapiq's four estimators on the same games, in a Python of their own: it needs 3.12, the product 3.11.

`python_with_shapiq` finds or makes that Python. Run by it, this file is the worker,

    python shapley_peers.py GAMES.npz CREDITS.npz BUDGET [BUDGET ...]

which reads families of games, each of shape (games, 2**n), and writes credits under "estimator|budget|family".
A budget is of **distinct** coalitions, full and empty included. shapiq's permutation and stratified estimators count a
coalition each time they ask for it; they are run with the largest nominal budget whose distinct coalitions fit.
Game k of each family has the random state k, for every estimator.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SHAPIQ = "shapiq==1.4.1"
NAMES = ("permutation", "stratified", "SVARM", "KernelSHAP")


def save(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write named arrays, uncompressed, for `numpy.load`."""
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})


def python_with_shapiq(home: Path) -> str:
    """A Python that can import shapiq: this one, or one in a virtual environment at `home`, made where it is missing.

    Raises RuntimeError, saying what is wanting, where none can be made.
    """
    if importlib.util.find_spec("shapiq"):
        return sys.executable
    python = home / "bin" / "python"
    if _works([str(python), "-c", "import shapiq"]):
        return str(python)
    if shutil.which("uv"):
        steps = [["uv", "venv", "--clear", "--python", ">=3.12", str(home)]]
        steps.append(["uv", "pip", "install", "--python", str(python), SHAPIQ])
    else:
        base = next(
            (each for each in _pythons() if _works([each, "-c", "import sys; assert sys.version_info >= (3, 12)"])),
            None,
        )
        if base is None:
            raise RuntimeError("no Python >= 3.12 and no uv on the path")
        steps = [[base, "-m", "venv", "--clear", str(home)], [str(python), "-m", "pip", "install", SHAPIQ]]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(step)}: {done.stderr.strip().splitlines()[-1:]}")
    return str(python)


def _pythons() -> list[str]:
    named = [found for minor in (14, 13, 12) if (found := shutil.which(f"python3.{minor}"))]
    return named + [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python3"))]


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


class Counted:
    """A game given on its power set, and the coalitions that were asked for."""

    def __init__(self, values: Any, players: int) -> None:
        self.values, self.bits = values, 1 << np.arange(players)
        self.asked: set[int] = set()

    def __call__(self, coalitions: Any) -> Any:
        masks = np.atleast_2d(coalitions).astype(np.int64) @ self.bits
        self.asked.update(masks.tolist())
        return self.values[masks]


def work(games: Path, credits: Path, budgets: list[int]) -> None:
    """Solve every game by every estimator at every budget."""
    from shapiq.approximator import SVARM, KernelSHAP, PermutationSamplingSV, StratifiedSamplingSV

    warnings.simplefilter("ignore")
    kinds = dict(zip(NAMES, (PermutationSamplingSV, StratifiedSamplingSV, SVARM, KernelSHAP), strict=True))
    families = dict(np.load(games))
    players = next(iter(families.values())).shape[1].bit_length() - 1
    result: dict[str, Any] = {}
    for name, kind in kinds.items():
        for budget in budgets:
            for state in range(max(len(values) for values in families.values())):
                nominal = budget if name in ("SVARM", "KernelSHAP") else _nominal(kind, players, budget, state)
                for family, values in families.items():
                    if state >= len(values):
                        continue
                    game = Counted(values[state], players)
                    found = kind(n=players, random_state=state).approximate(nominal, game)
                    assert len(game.asked) <= budget, (name, budget, len(game.asked))
                    credit = [found[(player,)] for player in range(players)]
                    result.setdefault(f"{name}|{budget}|{family}", []).append(credit)
    save(credits, result)


def _nominal(kind: Any, players: int, budget: int, state: int) -> int:
    """The nominal budget that spends `budget` distinct coalitions, or nearly; the choice does not hang on values."""
    values, best, nominal = np.zeros(1 << players), budget, budget
    for _ in range(12):
        game = Counted(values, players)
        kind(n=players, random_state=state).approximate(nominal, game)
        if len(game.asked) > budget:
            break
        best = nominal
        if len(game.asked) == budget:
            break
        nominal += max(budget - len(game.asked), players - 1)
    return best


if __name__ == "__main__":
    work(Path(sys.argv[1]), Path(sys.argv[2]), [int(each) for each in sys.argv[3:]])

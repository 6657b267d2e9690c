"""The golden runs, step by step: what is asked for at each, in the words of the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import road

INPUTS = Path(__file__).parent / "inputs"
MODEL = {"config.json": '{"model_type": "scripted"}', "model.safetensors": "weights", "tokenizer.json": "{}"}
Step = Callable[[Path], road.Made]


def prepare(folder: Path) -> None:
    """Lay the inputs and a checkpoint of three small files into an empty folder.

    Its data folder must be there: a `data` beside the TOML file goes before one in the working directory.
    """
    shutil.copytree(INPUTS, folder, dirs_exist_ok=True)
    (folder / "data").mkdir()
    (folder / "model").mkdir()
    for name, text in MODEL.items():
        (folder / "model" / name).write_text(text)


def steps() -> Iterator[tuple[str, Step]]:
    """Every step by its name, in order: later ones read what earlier ones wrote."""
    yield from _plans()
    yield from _pair()
    yield from _games()
    yield from _others()
    yield from _training()
    yield from _logs()
    yield from _evaluations()
    yield from _loops()
    yield "sql: views", partial(road.viewed, toml="pair")
    yield "runs verify", partial(road.problems, toml="pair")


def _plans() -> Iterator[tuple[str, Step]]:
    yield "plan: shipped configurations", road.shipped
    for team in ("pair", "thinkers", "voters", "alone"):
        yield f"plan: {team}", _verb(road.plan, team)
    yield "plan: pair with another seed", _verb(road.plan, "pair", "run.seed=11")
    yield "plan: pair with another decoding", _verb(road.plan, "pair", "sample.temperature=0.9")
    yield "plan: pair with options of the verifier", _verb(road.plan, "pair", "tasks.verifier_options.relative=0.01")


def _pair() -> Iterator[tuple[str, Step]]:
    """A planner and two workers: sampled, its failures blamed, its successes spoilt."""
    yield "pair: sample", _verb(road.sampled, "pair")
    yield "pair: blame by monte_carlo", _verb(road.blamed, "pair", "failures.limit=2")
    yield (
        "pair: blame by value_drop",
        _verb(road.blamed, "pair", "failures.localizer=value_drop", "failures.contrast=false"),
    )
    yield "pair: blame by learned", _verb(road.blamed, "pair", "failures.localizer=learned", "failures.limit=1")
    yield "pair: inject", _verb(road.injected, "pair")


def _games() -> Iterator[tuple[str, Step]]:
    """The same run credited in every way, each under rules of its own."""
    every = "annotate.on=all"
    yield "pair: credit by likelihood", _verb(road.credited, "pair", every)
    yield "pair: credit by regenerate", _verb(road.credited, "pair", "annotate.value=regenerate", "annotate.samples=2")
    yield (
        "pair: credit by replay",
        _verb(road.credited, "pair", "annotate.value=replay", "annotate.samples=2", "annotate.limit=2"),
    )
    yield "pair: credit with masking drop", _verb(road.credited, "pair", every, "annotate.masking=drop")
    yield "pair: credit with the answerer a player", _verb(road.credited, "pair", "annotate.answerer=player")
    yield "pair: credit of messages", _verb(road.credited, "pair", "annotate.players=messages", "annotate.cue=so:")
    yield (
        "pair: credit of messages, sampled",
        _verb(road.credited, "pair", "annotate.players=messages", "annotate.cue=thus:", "annotate.budget=40"),
    )
    yield "pair: credit of messages, regenerated", _verb(
        road.credited, "pair", "annotate.players=messages", "annotate.value=regenerate", "annotate.samples=1",
        "annotate.cue=answer: it is", "annotate.limit=1",
    )  # fmt: skip
    for number, name in enumerate(("exact", "quadrature", "permutation", "loo")):
        yield (
            f"pair: credit estimated by {name}",
            _verb(
                road.credited,
                "pair",
                f"annotate.estimator={name}",
                f"annotate.cue=answer {number}:",
                "annotate.limit=3",
            ),
        )
    yield "pair: credit estimated by quadrature, messages", _verb(
        road.credited, "pair", "annotate.estimator=quadrature", "annotate.players=messages", "annotate.cue=answer 5:",
        "annotate.limit=2", "annotate.budget=20",
    )  # fmt: skip
    yield (
        "pair: credit within tokens",
        _verb(
            road.credited,
            "pair",
            "annotate.estimator=permutation",
            "annotate.cue=answer 6:",
            "annotate.token_budget=1500",
        ),
    )
    yield (
        "pair: credit by another estimator than before",
        _verb(road.credited, "pair", "annotate.estimator=exact", "annotate.cue=answer 2:"),
    )
    yield "pair: audit", _verb(road.audited, "pair")


def _others() -> Iterator[tuple[str, Step]]:
    """The other topologies."""
    yield "thinkers: sample", _verb(road.sampled, "thinkers")
    yield "thinkers: credit", _verb(road.credited, "thinkers", "annotate.on=all")
    yield "thinkers: blame", _verb(road.blamed, "thinkers")
    yield "voters: sample", _verb(road.sampled, "voters")
    yield "voters: credit by recount", _verb(road.credited, "voters", "annotate.on=all")
    yield "voters: blame", _verb(road.blamed, "voters")
    yield "alone: sample", _verb(road.sampled, "alone")
    yield "alone: credit", _verb(road.credited, "alone")
    yield "alone: blame", _verb(road.blamed, "alone")


def _training() -> Iterator[tuple[str, Step]]:
    """Advantages by every method, what the trainers are given, and the exported data sets."""
    for method in road.ADVANTAGE_METHODS:
        yield f"pair: advantages by {method}", _advantages(method)
    for method in ("grpo", "shapley"):
        yield f"pair: advantages by {method}, of messages", _advantages(method, "advantages.unit=message")
    yield "pair: advantages with a reference policy", _advantages("grpo", "train.beta=0.1")
    yield "thinkers: advantages by dr_mas", _verb(road.advantaged, "thinkers", "advantages.method=dr_mas")
    yield "pair: train grpo", _verb(road.trained, "pair", "grpo")
    yield (
        "pair: train grpo on part",
        _verb(road.trained, "pair", "grpo", "advantages.method=rloo", "train.limit=4", "train.epochs=2"),
    )
    yield "pair: train dpo", _verb(road.trained, "pair", "dpo", "train.margin=true")
    yield "pair: export", _verb(road.exported, "pair")
    yield "pair and thinkers: export", _verb(road.exported, "pair", runs=("pair", "thinkers"))


def _logs() -> Iterator[tuple[str, Step]]:
    """Logs of other people's agents: imported, credited, blamed, exported."""
    for format, path in (("messages", "chats.jsonl"), ("who-and-when", "who"), ("process-bench", "solutions.jsonl")):
        run = f"run.name={format}"
        yield f"{format}: import", _verb(road.imported, "logs", format, path, run)
        yield f"{format}: credit", _verb(road.credited, "logs", run)
        yield f"{format}: blame", _verb(road.blamed, "logs", run)
        yield f"{format}: blame by learned", _verb(road.blamed, "logs", run, "failures.localizer=learned")
        yield f"{format}: blame by value_drop", _verb(road.blamed, "logs", run, "failures.localizer=value_drop")
        yield f"{format}: export", _verb(road.exported, "logs", run)
    yield "messages: import under a name of its content", _verb(road.imported, "logs", "messages", "chats.jsonl")


def _evaluations() -> Iterator[tuple[str, Step]]:
    who = partial(road.evaluated, toml="logs", format="who-and-when", path="who", folds=2)
    yield "evaluate who-and-when", partial(who, second="labels.json")
    yield (
        "evaluate who-and-when, cross-validated and blind",
        partial(who, cross_validate=True, without_reference=True, seed=3),
    )
    yield "evaluate who-and-when by the judge", partial(who, names=("generative_judge",))
    solutions = partial(road.evaluated, toml="logs", format="process-bench", path="solutions.jsonl", folds=2)
    yield "evaluate process-bench", solutions
    yield "evaluate process-bench by the model", partial(solutions, names=("value_drop", "generative_judge"))


def _loops() -> Iterator[tuple[str, Step]]:
    shape = ("loop.tasks=2", "loop.iterations=4")
    yield "loop: grpo", _verb(road.looped, "pair", *shape)
    yield "loop: grpo on credit", _verb(road.looped, "pair", *shape, "advantages.method=sharp")
    yield "loop: dpo", _verb(road.looped, "pair", *shape, "loop.trainer=dpo")


def _advantages(method: str, *sets: str) -> Step:
    """Credit is there by likelihood, on all rollouts."""
    return _verb(road.advantaged, "pair", f"advantages.method={method}", "annotate.on=all", *sets)


def _verb(verb: Callable[..., road.Made], toml: str, *arguments: str, **more: object) -> Step:
    return lambda folder: verb(folder, toml, *arguments, **more)

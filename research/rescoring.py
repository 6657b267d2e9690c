"""What do the coalitions of a trajectory cost? Ours beside the usual ways, and beside the limit.

    .venv/bin/python -m research.rescoring [--agents 6] [--spoken 1] [--words 200] [--dtype auto]

Teams of 3, 6 and 9 agents that speak once, twice and three times, about `words` tokens an agent in all; every
coalition of one trajectory is scored. Side by side in one run, one process and one dtype:

* transformers: one prompt after the other, as a script would do it
* default: vLLM's prompt log-probabilities, which switch its prefix cache off
* ours: `apportion.pipeline.values.likelihood` from the prompts on
* limit: the distinct tokens of the prompts' trie at the rate at which this engine prefills prompts that share nothing

The first two are measured on `--some` coalitions drawn at random and scaled by their tokens, for they take long. Values
are compared as well: the largest difference of a sum of log-probabilities, in nats.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.core.libraries import hush
from apportion.pipeline.engines import running
from apportion.pipeline.engines.base import ScoreRequest
from apportion.pipeline.engines.checkpoints import resolve_dtype, resolve_model
from apportion.pipeline.games.game import Game, Rules, Shown
from apportion.pipeline.values import likelihood

WORDS = "the owner of inn has moved to a house in town near river road where people say that she and he keep horses"


def main(
    agents: Annotated[list[int], typer.Option(help="Agents of the team; repeatable.")] = [3, 6, 9],  # noqa: B006
    spoken: Annotated[list[int], typer.Option(help="Messages of each agent; repeatable.")] = [1, 2, 3],  # noqa: B006
    words: int = 200,
    some: int = 12,
    repeat: int = 1,
    seed: int = 0,
    dtype: str = "auto",
    model: str = "smollm2",
    data: Path = Path("data"),
) -> None:
    """Measure every cell and print one row each."""
    hush(data)
    config = load_config(None, (f"run.data={data}", f"model.path={model}", f"model.dtype={dtype}"))
    engine: Any = running.engine_for(config.model, config.data_root)
    slow = transformers_scorer(config)
    shown = Table(
        "agents", "spoken", "tokens", "distinct", "transformers s", "default s", "ours s", "limit s", "default / ours",
        "ours / limit", "differ", title=f"coalitions of one trajectory, {resolve_dtype(dtype)}",
    )  # fmt: skip
    measure(engine, slow, trajectory(2, 1, words, config, seed), some, 1, seed)  # the first calls are slow in every arm
    for number in agents:
        for times in spoken:
            cell = measure(engine, slow, trajectory(number, times, words, config, seed), some, repeat, seed)
            shown.add_row(str(number), str(times), *cell)
    Console(width=150).print(shown)


def trajectory(agents: int, spoken: int, words: int, config: Config, seed: int) -> Game:
    """Random words by `agents` agents who take the floor in turn, `spoken` times each."""
    rng = random.Random(f"{seed} {agents} {spoken}")
    names = tuple(f"agent{i}" for i in range(agents))
    said = [
        Shown(i + 1, "assistant", "message", name, " ".join(rng.choices(WORDS.split(), k=words // spoken)), name)
        for i, name in enumerate(names * spoken)
    ]
    question = Shown(0, "user", "task", "user", "In which town does the owner of the inn live?", None)
    rules = Rules("likelihood", "benchmark", "outcome", "placeholder", "answer:", config.model.max_model_len)
    return Game(
        "v", "trajectory", "task", names, rules, "Silver Harbour", agents=names, reader="planner",
        system="You lead the team.", view=(question, *said),
    )  # fmt: skip


def measure(engine: Any, slow: Callable[..., Any], game: Game, some: int, repeat: int, seed: int) -> list[str]:
    """The figures of one cell."""
    masks = np.arange(game.full + 1)
    asked = likelihood.ask(game, masks, engine.tokenizer)
    every, distinct = likelihood.tokens([asked])
    drawn = random.Random(seed).sample(range(len(masks)), min(some, len(masks)))
    part = [asked.requests[i] for i in drawn]
    scale = every / sum(len(request.ids) for request in part)
    best: dict[str, float] = {}
    sums: dict[str, list[float]] = {}
    for _ in range(repeat):
        engine.reset_prefix_cache()
        begin = time.perf_counter()
        rows = likelihood.evaluate([asked], engine)
        best["ours"] = min(best.get("ours", np.inf), time.perf_counter() - begin)
        sums["ours"] = [rows[i]["sum_log_p"] for i in drawn]
        for name, scorer in (("default", default(engine)), ("transformers", slow)):
            begin = time.perf_counter()
            sums[name] = scorer(part)
            best[name] = min(best.get(name, np.inf), scale * (time.perf_counter() - begin))
        best["limit"] = min(best.get("limit", np.inf), distinct * seconds_a_token(engine, part, seed))
    differ = max(
        abs(a - b) for name in ("default", "transformers") for a, b in zip(sums["ours"], sums[name], strict=True)
    )
    return [
        f"{every:,}", f"{distinct:,}", *(f"{best[name]:.1f}" for name in ("transformers", "default", "ours", "limit")),
        f"{best['default'] / best['ours']:.2f}", f"{best['ours'] / best['limit']:.2f}", f"{differ:.1e}",
    ]  # fmt: skip


def default(engine: Any) -> Callable[[list[ScoreRequest]], list[float]]:
    """vLLM as it comes: log-probabilities of the whole prompt, prefix cache off for them."""
    from vllm import SamplingParams

    def score(requests: list[ScoreRequest]) -> list[float]:
        params = SamplingParams(prompt_logprobs=0, max_tokens=1, detokenize=False)
        prompts = [{"prompt_token_ids": list(request.ids)} for request in requests]
        outputs = engine._llm.generate(prompts, params, use_tqdm=False)
        return [
            sum(step[token].logprob for step, token in zip(output.prompt_logprobs[-len(ids) :], ids, strict=True))
            for output, ids in zip(outputs, [request.target_ids for request in requests], strict=True)
        ]

    return score


def transformers_scorer(config: Config) -> Callable[[list[ScoreRequest]], list[float]]:
    """One forward pass a prompt."""
    import torch
    from transformers import AutoModelForCausalLM

    path = resolve_model(config.model.path, data_root=config.data_root, hub=config.model.hub)
    dtype = resolve_dtype(config.model.dtype)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype if dtype == "auto" else getattr(torch, dtype)).eval()

    def score(requests: list[ScoreRequest]) -> list[float]:
        sums = []
        with torch.inference_mode():
            for request in requests:
                logits = model(torch.tensor([request.ids])).logits[0, len(request.prefix_ids) - 1 : -1].float()
                target = torch.tensor(request.target_ids)[:, None]
                sums.append(float(logits.log_softmax(-1).gather(1, target).sum()))
        return sums

    return score


def seconds_a_token(engine: Any, part: list[ScoreRequest], seed: int) -> float:
    """Raw prefill: prompts of the same lengths that share nothing, without log-probabilities."""
    from vllm import SamplingParams

    rng = random.Random(seed)
    prompts = [[rng.randrange(100, 40_000) for _ in request.ids] for request in part]
    params = SamplingParams(temperature=0.0, max_tokens=1, detokenize=False)
    begin = time.perf_counter()
    engine._llm.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
    return (time.perf_counter() - begin) / sum(map(len, prompts))


if __name__ == "__main__":
    typer.run(main)

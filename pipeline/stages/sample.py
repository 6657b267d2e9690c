"""Stage: tasks -> trajectories and messages, shard by shard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from jinja2 import TemplateError

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest
from apportion.pipeline.core.progress import watcher
from apportion.pipeline.engines.base import reset
from apportion.pipeline.engines.policy import Policy, policies_of, tokenizers_of, voices_of
from apportion.pipeline.play.play import (
    Played,
    Rollout,
    first_prompts,
    message_rows,
    opening_prompt,
    play,
    rollouts,
    trajectory_row,
)
from apportion.pipeline.play.team import Team, load_team, nature_of
from apportion.pipeline.runs.rules import rules_of
from apportion.pipeline.runs.run import Kind, Run, reject_row
from apportion.pipeline.stages.common import ALGORITHM_VERSION
from apportion.pipeline.stages.stage import NOTHING, Stage
from apportion.pipeline.tasks.base import tasks_of
from apportion.pipeline.tasks.reading.files import load_tasks
from apportion.pipeline.trajectory.task import Reject, Task, task_row
from apportion.pipeline.verifiers import get_verifier


@dataclass(frozen=True)
class Shard:
    """Rollouts that advance together and are committed together."""

    name: str
    number: int
    rollouts: tuple[Rollout, ...]
    fingerprint: str

    @property
    def kind(self) -> Kind:
        return Kind(self.rollouts[0].origin)


class Sample(Stage[Shard, list[Played]]):
    """Sample groups of rollouts of a team, and of the same model alone. All of it is known before a model is loaded.

    `rules`: digest of what a rollout is played by (team, decoding, verifier, documents, seed). `spec`: digest of all
    that the rows depend on: rules, tasks, policies.
    """

    verb = "sample"
    writes = ("messages", "trajectories")

    def __init__(self, config: Config) -> None:
        """Check what can be checked without the engine, and cut the work into shards."""
        self.run = Run(config, config.run_id)
        self.team, self.solo = load_team(config.team)
        get_verifier(config.tasks.verifier, **config.tasks.verifier_options)
        self.tasks, self.rejects = gather_tasks(config)
        self.policies = policies_of(config)
        self.rules = rules_of(config)
        self.spec = digest([self.rules, self.policies.id, [task.task_id for task in self.tasks]])
        self.kinds = (Kind.SAMPLED, Kind.SOLO) if config.sample.solo else (Kind.SAMPLED,)
        self.shards = [shard for kind in self.kinds for shard in self._cut(kind)]

    def cast(self, kind: Kind) -> tuple[Team, dict[str, Policy]]:
        """Who plays the rollouts of a kind: the team, and the policy of every agent."""
        team = self.solo if kind is Kind.SOLO else self.team
        return team, self.policies.of([agent.name for agent in team.agents], solo=kind is Kind.SOLO)

    def _cut(self, kind: Kind) -> Iterator[Shard]:
        """The shards of one kind: whole groups, at most `shard_size` rollouts."""
        config = self.run.config
        every = rollouts(self.tasks, config.sample, config.run.seed, self.policies.id, self.rules, kind)
        step = max(1, config.sample.shard_size // config.sample.group_size) * config.sample.group_size
        for number, start in enumerate(range(0, len(every), step)):
            part = tuple(every[start : start + step])
            fingerprint = digest([ALGORITHM_VERSION, [rollout.trajectory_id for rollout in part]])
            yield Shard(f"{kind}-{number:05d}", number, part, fingerprint)

    def ready(self) -> None:
        """Also refuse a name that is taken, and a model whose chat template refuses the team's first prompts."""
        self.run.claimed(self.spec)
        super().ready()
        for kind in self.kinds if self.pending else ():
            team, policies = self.cast(kind)
            for agent, tokenizer in tokenizers_of(policies).items():
                self._template_takes(team, agent, policies[agent], tokenizer)

    def _template_takes(self, team: Team, agent: str, policy: Policy, tokenizer: Any) -> None:
        try:
            opening_prompt(team, self.tasks[0], agent, tokenizer)
        except TemplateError as error:
            raise UserError(
                f"{policy.key}.path = {policy.model.path!r}: its chat template refuses the prompts of team "
                f"{team.name} ({error}); change the team's instructions and examples, or the model"
            ) from error

    def begin(self) -> None:
        """Write the run's manifest, tasks, policies and rejects; refuse a run whose configuration was another.

        The engines are started first: where that fails, no run is left behind in which nothing was sampled.
        """
        config = self.run.config
        self.run.claimed(self.spec)
        if self.pending:
            voices_of(self.cast(self.pending[0].kind)[1])
        self.run.claim(
            {
                "kind": "sample", "spec": self.spec, "rules": self.rules,
                "shards": [shard.name for shard in self.shards], "config": config.to_store(),
                "topology": {"path": config.sampling()["team"]["topology"], **asdict(nature_of(self.team.topology))},
            }
        )  # fmt: skip
        super().begin()
        write = self.run.writer("00000", digest([ALGORITHM_VERSION, self.spec]))
        write("tasks", [task_row(task) | {"source": config.as_written(task.source)} for task in self.tasks])
        write("policies", self.policies.rows())
        write("rejects", [reject_row(reject, "tasks") for reject in self.rejects])

    def work(self, shard: Shard) -> list[Played]:
        """Sample one shard: messages are committed first, trajectories last. The engines' caches start empty."""
        config = self.run.config
        team, policies = self.cast(shard.kind)
        voices = voices_of(policies)
        reset(voices)
        done = watcher().start(f"sampling {shard.name}", len(shard.rollouts))
        played = play(voices, team, shard.rollouts, config.sample, done)
        verifier = get_verifier(config.tasks.verifier, **config.tasks.verifier_options)
        write = self.run.writer(shard.name, shard.fingerprint, shard.kind)
        write("messages", [row for one in played for row in message_rows(one, config.sample)])
        write("trajectories", [trajectory_row(one, verifier, shard.number, config.tasks.verifier) for one in played])
        return played

    def foretell(self) -> Iterator[str]:
        """The work that is pending, and tasks that leave no room for an answer."""
        pending = self.pending
        if pending:
            yield from self._full_from_the_start()
        else:
            yield NOTHING
        rollouts = sum(len(shard.rollouts) for shard in self.shards)
        yield (
            f"run {self.run.id}: {len(self.tasks)} tasks, {rollouts} rollouts in {len(self.shards)} shards, "
            f"{len(self.shards) - len(pending)} already done; at most {self.most_tokens:,} generated tokens with one "
            "helper a turn"
        )

    @property
    def most_tokens(self) -> int:
        """The most tokens that the pending shards generate if no turn calls more than one helper."""
        turns, tokens = self.run.config.team.max_turns, self.run.config.sample.max_tokens
        alone = sum(len(shard.rollouts) for shard in self.pending if shard.kind is Kind.SOLO)
        teams = sum(len(shard.rollouts) for shard in self.pending) - alone
        return (alone * turns + teams * turns * (1 + turns)) * tokens

    def _full_from_the_start(self) -> Iterator[str]:
        """Of the pending rollouts, a line on the tasks whose first prompt leaves no room in the context window."""
        for kind in self.kinds:
            waiting = [one for shard in self.pending if shard.kind is kind for one in shard.rollouts]
            tasks = {one.task.task_id: one.task for one in waiting}
            if not tasks:
                continue
            team, policies = self.cast(kind)
            tokenizers = tokenizers_of(policies)
            windows = {agent: policy.model.max_model_len for agent, policy in policies.items()}
            prompts = [dict(first_prompts(team, task, tokenizers)) for task in tasks.values()]
            full = [max(sizes.values()) for sizes in prompts if any(sizes[name] >= windows[name] for name in sizes)]
            if full:
                keys = {f"{one.key}.max_model_len = {one.model.max_model_len}" for one in policies.values()}
                yield (
                    f"cut: in {len(full):,} of {len(tasks):,} tasks the first prompt of {team.name} ({min(full):,} to "
                    f"{max(full):,} tokens) leaves no room in {' or '.join(sorted(keys))}: they break off at once"
                )


def gather_tasks(config: Config) -> tuple[list[Task], list[Reject]]:
    """The tasks that the configuration names. Raises UserError when there are none."""
    section = config.tasks
    if section.source:
        tasks = tasks_of(section.source, section.options)
        return tasks[section.offset :][: section.limit], []
    if not section.path:
        raise UserError("config: tasks.path is empty; name a task file: --set tasks.path=FILE.jsonl")
    most = None if section.limit is None else section.offset + section.limit
    tasks, rejects = load_tasks(
        section.path, split=section.split, question=section.question, answer=section.answer, limit=most,
        hub=section.hub,
    )  # fmt: skip
    if section.offset >= len(tasks):
        raise UserError(f"config: tasks.offset = {section.offset}: {section.path} has {len(tasks)} tasks")
    return tasks[section.offset :], rejects

"""The resolved configuration of a run: TOML, then `--set`, checked before any model is loaded."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_serializer, model_validator
from pydantic.json_schema import SkipJsonSchema

from apportion.pipeline.core import paths
from apportion.pipeline.core.config_errors import explain
from apportion.pipeline.core.config_layers import locate, merged, parse_override, read_team, read_toml
from apportion.pipeline.core.config_sections import Methods as _Methods
from apportion.pipeline.core.config_sections import Options
from apportion.pipeline.core.config_sections import Section as _Section
from apportion.pipeline.core.config_sections import named as _named
from apportion.pipeline.core.config_team import TOKENS, PolicyName
from apportion.pipeline.core.config_team import AgentConfig as AgentConfig
from apportion.pipeline.core.config_team import ModelConfig as ModelConfig
from apportion.pipeline.core.config_team import TeamConfig as TeamConfig
from apportion.pipeline.core.config_team import ToolConfig as ToolConfig
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import MAX_NAME, digest

_MANY = 10**12
"""More tasks, trajectories or coalitions than anybody has: a number beyond it is a slip."""


class RunConfig(_Section):
    name: str = Field("", pattern=r"^([A-Za-z][A-Za-z0-9_-]*)?$", max_length=MAX_NAME)
    """Names the run's partition; empty: made from the configuration's digest."""
    data: str = "data"
    """Folder of everything written: runs, converted models, Prefect's own state."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Every draw of the run comes from it."""
    held_out: bool = False
    """A run on held-out tasks: never the default of `annotate`, `train` or `export`."""


class TasksConfig(_Section):
    path: str = ""
    """JSON lines, JSON, CSV, TSV (also .gz, .zst, .bz2), Parquet, a folder, or with `hub` a hub id."""
    hub: bool = False
    """Let `path` be an id of the Hugging Face hub."""
    source: Annotated[str, _named("tasks")] = ""
    """Instead of `path`: multihop, or the path of a function that returns a list of Task or of a class with `tasks`."""
    options: Options = {}
    """Parameters of `source`."""
    split: str | None = None
    """Split of a data set that has several."""
    question: str = "question"
    """Column of the question, whatever its case, with dots for what is nested (`extra_info.question`); of a chat the
    last user message. Left alone, the usual names are tried."""
    answer: str = "answer"
    """Column of the reference answer or of the list of its aliases, named likewise (`reward_model.ground_truth`). Left
    alone, the usual names are tried, and columns of aliases (`answer_aliases`) add to it."""
    offset: int = Field(0, ge=0, le=_MANY)
    """Skip the first N tasks."""
    limit: int | None = Field(None, ge=1, le=_MANY)
    """Use at most N tasks."""
    verifier: Annotated[str, _named("verifiers")] = "exact"
    """exact, f1, number, math, or the path of a class with `name` and `verify`."""
    verifier_options: dict[str, Any] = {}
    """Parameters of the verifier."""


class SampleConfig(_Section):
    group_size: int = Field(4, ge=1, le=1_000_000)
    """Rollouts of one task."""
    temperature: float = Field(0.7, ge=0, le=100)
    """Of every turn."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Below 1 a trainer cannot reproduce the log-probabilities: such messages are not trained on."""
    top_k: int = Field(0, ge=0, le=TOKENS)
    """0: all tokens; else as top_p."""
    max_tokens: int = Field(48, ge=1, le=TOKENS)
    """Tokens of one turn."""
    shard_size: int = Field(128, ge=1, le=1_000_000)
    """Rollouts that advance together and are committed together."""
    solo: bool = True
    """Sample the same model alone on the same tasks as well."""


class AnnotateConfig(_Methods):
    family = "values"

    on: Literal["successes", "all", "none"] = "successes"
    """Which trajectories get credit."""
    value: Annotated[str, _named("values", "auto")] = "auto"
    """What a coalition is worth: likelihood, regenerate, replay, recount, or the path of your own, `mine.py:Mine`.
    `auto`: as the topology says (recount for a vote, likelihood else). Parameters of one alone stand in a table of its
    own, `[annotate.likelihood]`; its `masking`, `cue`, `answerer` and `samples` go before those here."""
    options: Options = {}
    """Parameters of your own value function."""
    players: Literal["agents", "messages"] = "agents"
    """`messages` plays a second game, of single messages, beside the agents'; likelihood and regenerate."""
    masking: Literal["placeholder", "drop"] = "placeholder"
    """What stands in the place of a masked message: a neutral one, or nothing."""
    answerer: Literal["auto", "outcome", "player"] = "auto"
    """Is the answering message the outcome channel or its writer's own move? `auto`: as the topology says."""
    cue: str = "answer:"
    """Written before the reference whose probability is read."""
    estimator: Literal["auto", "exact", "quadrature", "permutation", "loo"] = "auto"
    """`auto`: exact where it fits the budget, else by quadrature within it."""
    budget: int = Field(1024, ge=2, le=_MANY)
    """Coalitions valued for one game at most."""
    token_budget: int | None = Field(None, ge=1, le=_MANY)
    """likelihood: distinct prompt tokens computed for one game at most."""
    samples: int = Field(4, ge=1, le=1_000_000)
    """regenerate and replay: samples behind each value."""
    limit: int | None = Field(None, ge=1, le=_MANY)
    """Credit at most N trajectories per shard."""


class AuditConfig(_Section):
    trajectories: int = Field(50, ge=0, le=_MANY)
    """Credited trajectories that are replayed, about; 0 replays nothing."""
    samples: int = Field(4, ge=2, le=1_000_000)
    """Rollouts of each arm of a replay; half of them audit the other half."""


class FailuresConfig(_Methods):
    family = "localizers"

    localizer: Annotated[str, _named("localizers", "none")] = "monte_carlo"
    """How the first error of a failure is found: monte_carlo, learned, value_drop, generative_judge, structure or
    another localizer of `evaluate`, or the path of your own; `none` leaves failures alone. Imported logs cannot be
    continued: for them `monte_carlo` means `learned` where a log is like those that its weights come from, and no step
    named elsewhere; `learned` by name reads all logs, and what that is worth is said."""
    options: Options = {}
    """Parameters of a localizer of your own."""
    rollouts: int = Field(4, ge=1, le=1_000_000)
    """monte_carlo: fresh continuations from every prefix."""
    margin: float = Field(0.05, ge=0, lt=1)
    """monte_carlo and value_drop: a fall of the value counts as an error only beyond this, in [0, 1)."""
    alternatives: int = Field(4, ge=0, le=1_000_000)
    """Alternatives that the same agent writes at the first error; 0 localizes without repair."""
    confirmations: int = Field(4, ge=1, le=1_000_000)
    """Fresh continuations of an alternative that won, and of the recorded message beside it."""
    contrast: bool = True
    """Also compare siblings of a group that share a prefix and differ in outcome."""
    limit: int | None = Field(None, ge=1, le=_MANY)
    """Look at most at N failures per shard."""

    def parameters(self, name: str) -> dict[str, Any]:
        """Those of a localizer: `rollouts` and `margin` of the section where it has such, then its own table's."""
        shared = {"monte_carlo": {"rollouts", "margin"}, "value_drop": {"margin"}}.get(name, set())
        return {key: getattr(self, key) for key in shared} | super().parameters(name)


class InjectConfig(_Section):
    kinds: list[Literal["wrong_number", "wrong_tool_input", "dropped_fact", "contradiction"]] = Field(
        ["wrong_number", "wrong_tool_input", "dropped_fact", "contradiction"], min_length=1
    )
    """Kinds of errors that are planted."""
    each: int = Field(4, ge=1, le=1_000_000)
    """Faults planted in one success at most, each in a run of its own."""


class AdvantagesConfig(_Methods):
    family = "advantages"
    method: Annotated[str, _named("advantages")] = "grpo"
    """Reward and what it is compared with: grpo, rloo, dr_mas, sharp, shapley, success_failure, or the path of a class
    of your own."""
    options: Options = {}
    """Parameters of a method of your own."""
    unit: Literal["agent", "message"] = "agent"
    """A training sequence is a whole agent trajectory, stitched, or a single message."""


class TrainConfig(_Section):
    learning_rate: float = Field(1e-5, gt=0, le=1)
    """At its highest."""
    epochs: int = Field(1, ge=1, le=100_000)
    """GRPO: passes over the sequences; beyond the first the ratios are off policy and clipped."""
    limit: int | None = Field(None, ge=1, le=_MANY)
    """Stop taking groups (GRPO) or questions (DPO) once N sequences or pairs are there."""
    batch_size: int = Field(32, ge=1, le=1_000_000)
    """Sequences (or pairs) of one optimizer step, over all processes."""
    micro_batch_size: int = Field(8, ge=1, le=1_000_000)
    """Sequences (or pairs) computed at once; gradients are accumulated."""
    beta: float = Field(0.0, ge=0, le=1000)
    """GRPO: weight of the KL to the reference policy."""
    dpo_beta: float = Field(0.1, gt=0, le=1000)
    """DPO: how much a log-ratio counts."""
    dpo_epochs: int = Field(3, ge=1, le=100_000)
    """Passes over the pairs, of which there are fewer than sequences."""
    margin: bool = False
    """DPO: ask each pair for its margin (the rise of the success share) beyond being in the right order."""
    epsilon: float = Field(0.2, gt=0, lt=1)
    """Clip range of the ratio, below."""
    epsilon_high: float | None = Field(None, gt=0, le=1000)
    """Clip range above; as below where it is not given."""
    importance_cap: float = Field(2.0, ge=0, le=1000)
    """GRPO: ratios start from the trainer's own log-probabilities, and a token that the sampler gave another one (in
    bfloat16, say) counts by their ratio, at most this. 0: ratios start from the sampler's, one forward pass less."""
    loss: Literal["dapo", "dr_grpo", "grpo", "bnpo"] = "dapo"
    """How token losses are averaged (names as in TRL)."""
    ratio: Literal["token", "sequence"] = "token"
    """Importance ratio of each token, or one of the whole sequence (GSPO)."""
    lora_rank: int = Field(0, ge=0, le=65_536)
    """0 trains all weights; else adapters of this rank, merged into the checkpoint that is written."""
    max_grad_norm: float = Field(1.0, gt=0, le=1e9)
    """Gradients beyond it are scaled down."""
    warmup: float = Field(0.1, ge=0, le=1)
    """Share of the steps over which the learning rate rises."""
    processes: int = Field(1, ge=1, le=1024)
    """Started through accelerate where more than one."""


class ExportConfig(_Section):
    validation: float = Field(0.1, ge=0, lt=1)
    """Share of the questions that go to the validation split."""
    test: float = Field(0.0, ge=0, lt=1)
    """Share that goes to the test split."""
    evaluation: str = ""
    """A task file whose questions must not occur in the export."""


class LoopConfig(_Section):
    iterations: int = Field(5, ge=1, le=100_000)
    """Rounds of sample, annotate, update."""
    tasks: int = Field(16, ge=1, le=_MANY)
    """Tasks of one iteration; they go round."""
    trainer: Literal["grpo", "dpo"] = "grpo"
    """What updates the policy."""


class ImporterConfig(_Methods):
    family = "importers"
    options: Options = {}
    """`apportion import file.py:Class PATH`: parameters of an importer of your own."""


class Config(_Section):
    run: RunConfig = RunConfig()
    model: ModelConfig = ModelConfig()
    policies: dict[PolicyName, ModelConfig] = {}
    """What speaks beside `[model]`: an agent names one in `policy`. The keys are those of `[model]`; one that is not
    given is as there. The policies of a team have engines side by side: on a GPU their `gpu_memory` adds up, on a CPU
    their weights and `kv_cache_gib` do."""
    tasks: TasksConfig = TasksConfig()
    team: TeamConfig = TeamConfig()
    sample: SampleConfig = SampleConfig()
    annotate: AnnotateConfig = AnnotateConfig()
    audit: AuditConfig = AuditConfig()
    failures: FailuresConfig = FailuresConfig()
    inject: InjectConfig = InjectConfig()
    advantages: AdvantagesConfig = AdvantagesConfig()
    train: TrainConfig = TrainConfig()
    export: ExportConfig = ExportConfig()
    loop: LoopConfig = LoopConfig()
    importer: ImporterConfig = ImporterConfig()
    written: SkipJsonSchema[dict[str, str]] = {}
    """No key to set: paths (or folders of them) -> how they were written, where that is different."""

    @field_serializer("policies")
    def _as_given(self, policies: dict[str, ModelConfig]) -> dict[str, Any]:
        return {name: given.model_dump(mode="json", exclude_unset=True) for name, given in policies.items()}

    @model_validator(mode="after")
    def _policies_are_known(self) -> Self:
        self.team.refuse_unknown(self.policies)
        return self

    def policy(self, name: str) -> ModelConfig:
        """The model of the policy `name`; empty: the team's."""
        if not name:
            return self.model
        given = self.policies[name]
        return self.model.model_copy(update={key: getattr(given, key) for key in given.model_fields_set})

    @property
    def reaches_hub(self) -> bool:
        """Whether a model or the tasks may come from the hub."""
        return self.tasks.hub or any(self.policy(name).hub for name in ("", *self.policies))

    @property
    def data_root(self) -> Path:
        return Path(self.run.data)

    @property
    def store_root(self) -> Path:
        return self.data_root / "runs"

    def sampling(self) -> dict[str, Any]:
        """Everything that the sampled rows depend on, and nothing else. Paths stand as they were written: the same
        run has the same ids wherever it lies."""
        dump = self.model_dump(mode="json", include={"model", "tasks", "team", "sample"})
        policies = {name: self.policy(name).model_dump(mode="json") for name in self.team.policies}
        for model in (dump["model"], *policies.values()):
            for key in ("kv_cache_gib", "gpu_memory", "sync_tolerance"):
                del model[key]
        if policies:
            dump["policies"] = policies
        for agent in (*dump["team"]["agents"], *filter(None, [dump["team"]["solo"]])):
            if not agent["policy"]:  # runs older than the key keep their names
                del agent["policy"]
        for section, key in (("tasks", "verifier_options"), ("team", "options")):
            if not dump[section][key]:  # likewise
                del dump[section][key]
        paths.change_paths(dump, lambda key, path: self.as_written(path))
        return {**dump, "seed": self.run.seed}

    def as_written(self, path: str) -> str:
        """A path of this configuration as the user wrote it."""
        return paths.as_written(self.written, path)

    def to_store(self) -> dict[str, Any]:
        """What a manifest keeps; `load_config` reads it back as `base`."""
        return paths.to_store(self.model_dump(mode="json"))

    def as_told(self) -> dict[str, Any]:
        """What other people get to see of it: paths as they were written."""
        return paths.as_told(self.model_dump(mode="json"))

    @property
    def run_id(self) -> str:
        """The run's name, or one made from what its rows depend on."""
        return self.run.name or f"r{digest(self.sampling(), 10)}"


def load_config(
    file: Path | None = None,
    overrides: tuple[str, ...] = (),
    base: dict[str, Any] | None = None,
    root: Path | None = None,
) -> Config:
    """`base` (a run's stored configuration, found in the data folder `root`), then the TOML `file`, then `a.b=value`
    overrides.

    A `[team]` with `file = "team.toml"` is read from there. `core.paths` says where files are looked for.
    Raises UserError with the field's name.
    """
    values: dict[str, Any] = deepcopy(base or {}) if root is None else paths.from_store(base or {}, root)
    read = [read_toml(locate(str(file)))] if file is not None else []
    # A team file is a whole team, so single keys of it are set after it, in whichever order they are given.
    ordered = sorted(overrides, key=lambda override: not override.startswith("team.file="))
    layers = [*read, *map(parse_override, ordered)]
    for layer in layers:
        team = layer.get("team")
        if isinstance(team, dict) and "file" in team:
            values.pop("team", None)
            rest = {key: value for key, value in team.items() if key != "file"}
            layer["team"] = merged(read_team(team["file"]), rest)
        if "written" in layer:
            raise UserError("config: unknown key 'written'")
        merged(values, layer)
    paths.settle(values)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, Config)) from None
    if any(isinstance(layer.get("tasks"), dict) and layer["tasks"].get("options") for layer in layers):
        _refuse_idle_options(config.tasks)
    return config


def _refuse_idle_options(tasks: TasksConfig) -> None:
    """Refuse options that would be accepted and have no effect. A manifest of an earlier version may hold some."""
    if not tasks.source:
        raise UserError(
            f"config: tasks.options ({', '.join(tasks.options)}) are for tasks.source, which is not set: they would "
            f"have no effect; set a verifier's with tasks.verifier_options.{next(iter(tasks.options))}=..."
        )

"""The resolved configuration of a run: TOML, then `--set`, checked before any model is loaded."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import UserError
from pipeline.ids import digest


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RunConfig(_Section):
    name: str = Field("", pattern=r"^([A-Za-z][A-Za-z0-9_-]*)?$")
    """Names the run's partition; empty: made from the configuration's digest."""
    data: str = "data"
    """Folder of everything written: runs, converted models, Prefect's own state."""
    seed: int = 0
    """Every draw of the run comes from it."""
    held_out: bool = False
    """A run on held-out tasks: never the default of `annotate`, `train` or `export`."""


class ModelConfig(_Section):
    path: str = "smollm2"
    """`smollm2` (embedded), a checkpoint folder, or with `hub` an id of the Hugging Face hub."""
    hub: bool = False
    """Let the hub be reached; off by default."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: the checkpoint's own on a GPU; on a CPU bfloat16 where the processor computes in it, else float32."""
    max_model_len: int = Field(4096, ge=64)
    """Context window in tokens; at most what the model was trained for."""
    kv_cache_gib: float = Field(2.0, ge=1)
    """Memory for keys and values on a CPU."""
    gpu_memory: float = Field(0.5, gt=0, le=1)
    """Share of a GPU's memory that the sampler keeps; a trainer beside it (`loop`) needs the rest."""
    sync_tolerance: float | None = Field(None, gt=0)
    """After new weights were put into the engine: the largest difference (nats a token) to the checkpoint's own
    log-probabilities, beyond which the work stops. By default 0.01 in float32, else 0.1."""


class TasksConfig(_Section):
    path: str = ""
    """JSONL, Parquet, a `datasets` folder, or with `hub` a hub id."""
    hub: bool = False
    """Let `path` be an id of the Hugging Face hub."""
    source: str = ""
    """Instead of `path`: dotted path of a function that returns a list of Task."""
    options: dict[str, Any] = {}
    """Keyword arguments of `source`."""
    split: str | None = None
    """Split of a data set that has several."""
    question: str = "question"
    """Column of the question."""
    answer: str = "answer"
    """Column of the reference answer or of the list of its aliases."""
    offset: int = Field(0, ge=0)
    """Leave out so many tasks at the start."""
    limit: int | None = Field(None, ge=1)
    """Take so many tasks at most."""
    verifier: str = "exact"
    """exact, f1, number, math, or the dotted path of a class with `name` and `verify`."""


class ToolConfig(_Section):
    kind: str
    """search, calculator, or a dotted path."""
    documents: str | list[str] = []
    """search: one or several files, a document per line."""
    k: int = Field(1, ge=1)
    """search: documents returned."""
    options: dict[str, Any] = {}
    """A tool of your own: keyword arguments of its class."""


class AgentConfig(_Section):
    name: str = Field(pattern=r"^[A-Za-z][\w-]*$")
    """As it stands in the tables."""
    role: str
    """planner, worker, ...: credit and advantages are compared within a role."""
    system: str = ""
    """Its instructions."""
    examples: list[tuple[str, str]] = []
    """(what is said to it, what it answers): worked examples, shown before the conversation."""
    tools: dict[str, str] = {}
    """The verb that the agent writes -> the tool's name."""


class TeamConfig(_Section):
    name: str = ""
    """As it stands in the tables."""
    topology: str = "planner_workers"
    """Who speaks when: planner_workers, think_solve, voting, solo, or the dotted path of a class with `play`."""
    max_turns: int = Field(6, ge=1)
    """Turns of an agent in one call."""
    agents: list[AgentConfig] = []
    """Who plays."""
    tools: dict[str, ToolConfig] = {}
    """Tools by name; an agent names those that it may use."""
    solo: AgentConfig | None = None
    """The same model alone, for comparison. Without it: no instructions, no tools."""


class SampleConfig(_Section):
    group_size: int = Field(4, ge=1)
    """Rollouts of one task."""
    temperature: float = Field(0.7, ge=0)
    """Of every turn."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Below 1 a trainer cannot reproduce the log-probabilities: such messages are not trained on."""
    top_k: int = Field(0, ge=0)
    """0: all tokens; else as top_p."""
    max_tokens: int = Field(48, ge=1)
    """Tokens of one turn."""
    shard_size: int = Field(128, ge=1)
    """Rollouts that advance together and are committed together."""
    solo: bool = True
    """Sample the same model alone on the same tasks as well."""


class AnnotateConfig(_Section):
    on: Literal["successes", "all", "none"] = "successes"
    """Which trajectories get credit."""
    value: Literal["auto", "likelihood", "regenerate", "replay", "recount"] = "auto"
    """What a coalition is worth. `auto`: as the topology says (recount for a vote, likelihood else)."""
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
    budget: int = Field(1024, ge=2)
    """Coalitions valued for one game at most."""
    token_budget: int | None = Field(None, ge=1)
    """likelihood: distinct prompt tokens computed for one game at most."""
    samples: int = Field(4, ge=1)
    """regenerate and replay: samples behind each value."""
    limit: int | None = Field(None, ge=1)
    """Credit at most so many trajectories of each shard."""


class AuditConfig(_Section):
    trajectories: int = Field(50, ge=0)
    """Credited trajectories that are replayed, about; 0 replays nothing."""
    samples: int = Field(4, ge=2)
    """Rollouts of each arm of a replay; half of them audit the other half."""


class FailuresConfig(_Section):
    localizer: Literal["monte_carlo", "learned", "value_drop", "none"] = "monte_carlo"
    """How the first error of a failure is found; `none` leaves failures alone. Imported logs cannot be continued:
    for them `monte_carlo` means `learned` where a log is like those that its weights come from, and no step named
    elsewhere; `learned` by name reads all logs, and what that is worth is said."""
    rollouts: int = Field(4, ge=1)
    """monte_carlo: fresh continuations from every prefix."""
    margin: float = Field(0.05, ge=0, lt=1)
    """A fall of the value counts as an error only beyond this."""
    alternatives: int = Field(4, ge=0)
    """Alternatives that the same agent writes at the first error; 0 localizes without repair."""
    confirmations: int = Field(4, ge=1)
    """Fresh continuations of an alternative that won, and of the recorded message beside it."""
    contrast: bool = True
    """Also compare siblings of a group that share a prefix and differ in outcome."""
    limit: int | None = Field(None, ge=1)
    """Look at so many failures of each shard at most."""


class InjectConfig(_Section):
    kinds: list[Literal["wrong_number", "wrong_tool_input", "dropped_fact", "contradiction"]] = Field(
        ["wrong_number", "wrong_tool_input", "dropped_fact", "contradiction"], min_length=1
    )
    """Kinds of errors that are planted."""
    each: int = Field(4, ge=1)
    """Faults planted in one success at most, each in a run of its own."""


class AdvantagesConfig(_Section):
    method: Literal["grpo", "rloo", "dr_mas", "sharp", "shapley", "success_failure"] = "grpo"
    """Reward and what it is compared with."""
    unit: Literal["agent", "message"] = "agent"
    """A training sequence is a whole agent trajectory, stitched, or a single message."""


class TrainConfig(_Section):
    learning_rate: float = Field(1e-5, gt=0)
    """At its highest."""
    epochs: int = Field(1, ge=1)
    """GRPO: passes over the sequences; beyond the first the ratios are off policy and clipped."""
    limit: int | None = Field(None, ge=1)
    """Stop taking groups (GRPO) or questions (DPO) once so many sequences or pairs are there."""
    batch_size: int = Field(32, ge=1)
    """Sequences (or pairs) of one optimizer step, over all processes."""
    micro_batch_size: int = Field(8, ge=1)
    """Sequences (or pairs) computed at once; gradients are accumulated."""
    beta: float = Field(0.0, ge=0)
    """GRPO: weight of the KL to the reference policy."""
    dpo_beta: float = Field(0.1, gt=0)
    """DPO: how much a log-ratio counts."""
    dpo_epochs: int = Field(3, ge=1)
    """Passes over the pairs, of which there are fewer than sequences."""
    margin: bool = False
    """DPO: ask each pair for its margin (the rise of the success share) beyond being in the right order."""
    epsilon: float = Field(0.2, gt=0, lt=1)
    """Clip range of the ratio, below."""
    epsilon_high: float | None = Field(None, gt=0)
    """Clip range above; as below where it is not given."""
    loss: Literal["dapo", "dr_grpo", "grpo", "bnpo"] = "dapo"
    """How token losses are averaged (names as in TRL)."""
    ratio: Literal["token", "sequence"] = "token"
    """Importance ratio of each token, or one of the whole sequence (GSPO)."""
    lora_rank: int = Field(0, ge=0)
    """0 trains all weights; else adapters of this rank, merged into the checkpoint that is written."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients beyond it are scaled down."""
    warmup: float = Field(0.1, ge=0, le=1)
    """Share of the steps over which the learning rate rises."""
    processes: int = Field(1, ge=1)
    """Started through accelerate where more than one."""


class ExportConfig(_Section):
    validation: float = Field(0.1, ge=0, lt=1)
    """Share of the questions that go to the validation split."""
    test: float = Field(0.0, ge=0, lt=1)
    """Share that goes to the test split."""
    evaluation: str = ""
    """A task file whose questions must not occur in the export."""


class LoopConfig(_Section):
    iterations: int = Field(5, ge=1)
    """Rounds of sample, annotate, update."""
    tasks: int = Field(16, ge=1)
    """Tasks of one iteration; they go round."""
    trainer: Literal["grpo", "dpo"] = "grpo"
    """What updates the policy."""


class Config(_Section):
    run: RunConfig = RunConfig()
    model: ModelConfig = ModelConfig()
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

    @property
    def data_root(self) -> Path:
        return Path(self.run.data)

    @property
    def store_root(self) -> Path:
        return self.data_root / "runs"

    def sampling(self) -> dict[str, Any]:
        """Everything that the sampled rows depend on, and nothing else."""
        dump = self.model_dump(mode="json", include={"model", "tasks", "team", "sample"})
        for key in ("kv_cache_gib", "gpu_memory", "sync_tolerance"):
            del dump["model"][key]
        return {**dump, "seed": self.run.seed}

    @property
    def run_id(self) -> str:
        """The run's name, or one made from what its rows depend on."""
        return self.run.name or f"r{digest(self.sampling(), 10)}"


def load_config(
    file: Path | None = None, overrides: tuple[str, ...] = (), base: dict[str, Any] | None = None
) -> Config:
    """`base` (a run's stored configuration), then the TOML `file`, then `a.b=value` overrides.

    A `[team]` with `file = "team.toml"` is read from there. Raises UserError with the field's name.
    """
    values: dict[str, Any] = dict(base or {})
    layers = [_read_toml(file)] if file is not None else []
    # A team file is a whole team, so single keys of it are set after it, in whichever order they are given.
    ordered = sorted(overrides, key=lambda override: not override.startswith("team.file="))
    for layer in (*layers, *map(_parse_override, ordered)):
        team = layer.get("team")
        if isinstance(team, dict) and "file" in team:
            values.pop("team", None)
            rest = {key: value for key, value in team.items() if key != "file"}
            layer["team"] = _merge(_read_toml(Path(str(team["file"]))), rest)
        _merge(values, layer)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(error)) from None


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        near = difflib.get_close_matches(file.name, [p.name for p in file.parent.glob("*.toml")], 1)
        hint = f"; did you mean {file.parent / near[0]}?" if near else ""
        raise UserError(f"{file}: no such file{hint}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not valid TOML: {error}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None


def _parse_override(override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {override!r}: write it as section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    nested: Any = value
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return dict(nested)


def _merge(into: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            into[key] = _merge(dict(into[key]), value)
        else:
            into[key] = value
    return into


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _keys_beside(first["loc"])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, 1, 0.5)
        cure = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"config: unknown key {place!r}; {cure}{more}"
    if first["type"] == "missing":
        return f"config: {place!r} is missing{more}"
    return f"config: {place} = {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}{more}"


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """The known keys of the section in which `location` names an unknown one."""
    model: Any = Config
    for part in location[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            annotation = model.model_fields[str(part)].annotation
            inner = [a for a in getattr(annotation, "__args__", ()) if isinstance(a, type)]
            models = [a for a in (annotation, *inner) if isinstance(a, type) and issubclass(a, BaseModel)]
            model = models[-1] if models else model
    return sorted(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []

"""Tables that training reads and writes: advantages, sequences, running statistics, metrics."""

from __future__ import annotations

import pyarrow as pa

from apportion.schemas.table import BOOLS, FLOATS, INTS, TEXT, TEXTS, Table, column

ADVANTAGES = Table(
    name="advantages",
    doc="Rewards as they were and the advantage that a method makes of them.",
    row="trained message and method",
    schema=pa.schema(
        [
            column("trajectory_id", TEXT, "the rollout"),
            column("message_index", pa.int32(), "the trained message"),
            column("method", TEXT, "advantage method"),
            column("parameters", TEXT, "parameters of the method, as a JSON object", null=True),
            column("agent", TEXT, "author of the message"),
            column("role", TEXT, "role of the author in the team; sharp and shapley compare within it", null=True),
            column("reward_parts", TEXT, "the parts of the reward by name, as a JSON object", null=True),
            column("reward", pa.float64(), "raw reward", null=True),
            column("group_id", TEXT, "group that it was compared within", null=True),
            column("group_mean", pa.float64(), "mean reward of the group", null=True),
            column("group_std", pa.float64(), "standard deviation of the group, ddof 1", null=True),
            column("group_size", pa.int32(), "rewards in the group", unit="rollouts", null=True),
            column("advantage", pa.float64(), "what training multiplies the log-probability ratio with"),
            column("degenerate", pa.bool_(), "whether the group was too small or too flat to compare"),
            column("game_id", TEXT, "game that the credit came from", null=True),
        ]
    ),
    key=("trajectory_id", "message_index", "method"),
    sort_by=("trajectory_id", "method", "message_index"),
    invariants=(
        ("advantage_finite", "isfinite(advantage)"),
        ("std_not_negative", "group_std >= 0"),
        ("parts_are_json", "json_valid(reward_parts) AND json_valid(parameters)"),
    ),
)

TRAIN_ROWS = Table(
    name="train_rows",
    doc="Token sequences ready for a policy gradient.",
    row="training sequence: a message or a stitched agent trajectory",
    schema=pa.schema(
        [
            column("row_id", TEXT, "hash of method and sources"),
            column("method", TEXT, "advantage method"),
            column("trajectory_id", TEXT, "the rollout"),
            column("group_id", TEXT, "group that it was compared within", null=True),
            column("agent", TEXT, "author of the trained tokens"),
            column("role", TEXT, "role of the agent", null=True),
            column("policy_id", TEXT, "model version that sampled it", null=True),
            column("prompt_ids", INTS, "prompt", unit="token ids"),
            column("completion_ids", INTS, "everything after the prompt", unit="token ids"),
            column("completion_mask", BOOLS, "true on tokens that are trained"),
            column("old_logprobs", FLOATS, "log-probability under the sampler, one a token", unit="nat"),
            column("ref_logprobs", FLOATS, "log-probability under the reference", unit="nat", null=True),
            column("advantages", FLOATS, "one a token"),
            column("loss_weight", pa.float64(), "weight of the sequence in the loss"),
            column("temperature", pa.float64(), "temperature it was sampled at", null=True),
            column("sources", TEXTS, "messages it is made of, as trajectory_id:message_index"),
            column("split", TEXT, "train, validation or test, by question", null=True),
        ]
    ),
    key=("row_id",),
    sort_by=("group_id", "trajectory_id", "row_id"),
    invariants=(
        (
            "one_value_a_token",
            "len(completion_mask) = len(completion_ids) AND len(old_logprobs) = len(completion_ids) "
            "AND len(advantages) = len(completion_ids)",
        ),
        ("one_reference_a_token", "len(ref_logprobs) = len(completion_ids)"),
        ("weight_not_negative", "loss_weight >= 0"),
        ("advantages_finite", "len(list_filter(advantages, lambda a: NOT isfinite(a))) = 0"),
    ),
)

NORMALIZER_STATE = Table(
    name="normalizer_state",
    doc="Running statistics of methods that normalise globally; a row is the state after its batch.",
    row="method, stream and batch",
    schema=pa.schema(
        [
            column("method", TEXT, "advantage method"),
            column("stream", TEXT, "which of the method's quantities"),
            column("batch_index", pa.int32(), "batch that was folded in last"),
            column("mean", pa.float64(), "running mean"),
            column("variance", pa.float64(), "running variance, ddof 0"),
            column("count", pa.int64(), "values seen so far", unit="values"),
        ]
    ),
    key=("method", "stream", "batch_index"),
    sort_by=("method", "stream", "batch_index"),
    invariants=(("variance_not_negative", "variance >= 0"), ("count_not_negative", '"count" >= 0')),
)

TRAINING_LOG = Table(
    name="training_log",
    doc="Trainer metrics.",
    row="metric at a training step",
    schema=pa.schema(
        [
            column("trainer", TEXT, "dpo, grpo or another trainer"),
            column("iteration", pa.int32(), "round of the sample-and-train loop; 0 outside a loop"),
            column("step", pa.int32(), "optimizer step, from 0", unit="steps"),
            column("metric", TEXT, "name of the metric"),
            column("value", pa.float64(), "value of the metric; NaN is kept"),
            column("job", TEXT, "the training that it belongs to", null=True),
        ]
    ),
    key=("job", "trainer", "iteration", "step", "metric"),
    sort_by=("job", "trainer", "iteration", "step", "metric"),
    invariants=(("step_not_negative", "step >= 0 AND iteration >= 0"),),
)

"""Tables of the failure branch: step scores, first errors, repairs, preference pairs."""

from __future__ import annotations

import pyarrow as pa

from apportion.schemas.table import CHAT, INTS, TEXT, Table, column, one_of

STEPS = Table(
    name="steps",
    doc="Scores of single messages by process reward models.",
    row="message and process model",
    schema=pa.schema(
        [
            column("trajectory_id", TEXT, "the rollout"),
            column("message_index", pa.int32(), "the message that is scored"),
            column("agent", TEXT, "its author"),
            column("prm", TEXT, "process reward model"),
            column("scorer", TEXT, "model behind the process reward model", null=True),
            column("hint", TEXT, "what the scorer was told beyond the log", null=True),
            column("value_before", pa.float64(), "value just before it", unit="share in [0, 1]", null=True),
            column("value_after", pa.float64(), "value just after it", unit="share in [0, 1]", null=True),
            column("score", pa.float64(), "the model's score, higher is better", null=True),
            column("probability", pa.float64(), "probability that the step is wrong", unit="[0, 1]", null=True),
        ]
    ),
    key=("trajectory_id", "message_index", "prm"),
    sort_by=("trajectory_id", "prm", "message_index"),
    invariants=(
        ("values_in_unit_interval", "value_before BETWEEN 0 AND 1 AND value_after BETWEEN 0 AND 1"),
        ("probability_in_unit_interval", "probability BETWEEN 0 AND 1"),
    ),
)

LOCALIZATIONS = Table(
    name="localizations",
    doc="Where a failed trajectory first went wrong, by each localizer.",
    row="trajectory, localizer and target",
    schema=pa.schema(
        [
            column("trajectory_id", TEXT, "the rollout"),
            column("localizer", TEXT, "localization method"),
            column("target", TEXT, "earliest wrong step, or earliest step whose correction flips the outcome"),
            column("first_error", pa.int32(), "message index; null is unlocalized: see reason", null=True),
            column("agent", TEXT, "agent that is to blame", null=True),
            column("speaker", TEXT, "author of the message at first_error", null=True),
            column("confidence", pa.float64(), "the localizer's confidence", unit="share in [0, 1]", null=True),
            column("weights_fingerprint", TEXT, "hash of the learned weights, if any", null=True),
            column("reason", TEXT, "why no step is named, where none is", null=True),
            column(
                "unlikeness",
                pa.float64(),
                "distance of the log from those that the weights come from; beyond 1 it is unlike them",
                unit="1 at the edge of their corpus",
                null=True,
            ),
        ]
    ),
    key=("trajectory_id", "localizer", "target"),
    sort_by=("trajectory_id", "localizer", "target"),
    invariants=(
        one_of("target", "first_wrong", "decisive"),
        ("first_error_not_negative", "first_error >= 0"),
        ("confidence_in_unit_interval", "confidence BETWEEN 0 AND 1"),
        ("reason_only_where_unlocalized", "reason IS NULL OR first_error IS NULL"),
        ("unlikeness_not_negative", "unlikeness >= 0"),
    ),
)

REPAIRS = Table(
    name="repairs",
    doc="Alternatives to a recorded message, with the samples that selected it and those that confirmed it.",
    row="alternative to a message",
    schema=pa.schema(
        [
            column("trajectory_id", TEXT, "the failed rollout"),
            column("step", pa.int32(), "message index that is replaced"),
            column("proposal", TEXT, "what chose the step: a localizer, random, or sibling (a rollout that won)"),
            column("alternative_index", pa.int32(), "number of the alternative, from 0"),
            column("agent", TEXT, "author of both messages"),
            column("policy_id", TEXT, "model version that wrote the alternative", null=True),
            column("text", TEXT, "the alternative"),
            column("prompt_ids", INTS, "prompt that both messages answer", unit="token ids", null=True),
            column("completion_ids", INTS, "tokens of the alternative", unit="token ids", null=True),
            column("hint", TEXT, "what the author was told beyond the prompt", null=True),
            column("selection_k", pa.int32(), "continuations that selected", unit="rollouts"),
            column("selection_successes", pa.int32(), "of these solved; biased upward", unit="rollouts"),
            column("confirmation_k", pa.int32(), "fresh continuations; null if not selected", null=True),
            column("confirmation_successes", pa.int32(), "of these solved", unit="rollouts", null=True),
            column("baseline_k", pa.int32(), "continuations of the recorded message", unit="rollouts", null=True),
            column("baseline_successes", pa.int32(), "of these solved", unit="rollouts", null=True),
            column("source_trajectory_id", TEXT, "rollout in which the alternative stands", null=True),
            column("recorded_ids", INTS, "tokens of the recorded message", unit="token ids", null=True),
        ]
    ),
    key=("trajectory_id", "step", "proposal", "alternative_index"),
    sort_by=("trajectory_id", "step", "proposal", "alternative_index"),
    invariants=(
        ("selection_within_k", "selection_successes BETWEEN 0 AND selection_k"),
        ("confirmation_within_k", "confirmation_successes BETWEEN 0 AND confirmation_k"),
        ("baseline_within_k", "baseline_successes BETWEEN 0 AND baseline_k"),
    ),
)

PREFERENCES = Table(
    name="preferences",
    doc="Preference pairs: both sides answer the same prompt as the same agent.",
    row="pair",
    schema=pa.schema(
        [
            column("pair_id", TEXT, "hash of prompt, sides and kind"),
            column("kind", TEXT, "how the pair was made"),
            column("task_id", TEXT, "the task"),
            column("agent", TEXT, "author of both sides"),
            column("policy_id", TEXT, "model version that wrote the rejected side", null=True),
            column("prompt", CHAT, "the shared prompt", unit="chat messages"),
            column("chosen", CHAT, "the better side", unit="chat messages"),
            column("rejected", CHAT, "the worse side", unit="chat messages"),
            column("prompt_ids", INTS, "the shared prompt", unit="token ids", null=True),
            column("chosen_ids", INTS, "the better side", unit="token ids", null=True),
            column("rejected_ids", INTS, "the worse side", unit="token ids", null=True),
            column("chosen_trajectory_id", TEXT, "rollout of the better side", null=True),
            column("chosen_message_index", pa.int32(), "message index of the better side", null=True),
            column("rejected_trajectory_id", TEXT, "rollout of the worse side", null=True),
            column("rejected_message_index", pa.int32(), "message index of the worse side", null=True),
            column("chosen_k", pa.int32(), "confirming continuations of the better side", unit="rollouts"),
            column("chosen_successes", pa.int32(), "of these solved", unit="rollouts"),
            column("rejected_k", pa.int32(), "continuations of the worse side", unit="rollouts"),
            column("rejected_successes", pa.int32(), "of these solved", unit="rollouts"),
            column("margin", pa.float64(), "rise of the success share", unit="share in [-1, 1]", null=True),
            column("weight", pa.float64(), "weight in the loss"),
            column("split", TEXT, "train, validation or test, by question", null=True),
        ]
    ),
    key=("pair_id",),
    sort_by=("task_id", "pair_id"),
    invariants=(
        one_of("kind", "first_error", "late_repair", "contrast"),
        ("chosen_within_k", "chosen_successes BETWEEN 0 AND chosen_k"),
        ("rejected_within_k", "rejected_successes BETWEEN 0 AND rejected_k"),
        ("sides_differ", "chosen <> rejected"),
        ("weight_not_negative", "weight >= 0"),
        ("margin_bounded", "margin BETWEEN -1 AND 1"),
    ),
)

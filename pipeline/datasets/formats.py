"""The four data sets, column by column, with the names that TRL's trainers look for."""

from __future__ import annotations

import pyarrow as pa

from apportion.schemas.failures import PREFERENCES
from apportion.schemas.table import BOOLS, CHAT, INTS, TEXT, TEXTS, Table, column
from apportion.schemas.training import TRAIN_ROWS

KTO = Table(
    name="kto",
    doc="Single answers, desirable or not; every prompt and answer once, in shuffled order.",
    row="prompt and answer",
    schema=pa.schema(
        [
            column("prompt", CHAT, "the prompt", unit="chat messages"),
            column("completion", CHAT, "the answer", unit="chat messages"),
            column("label", pa.bool_(), "true: the better side of a pair; false: the worse"),
            column("weight", pa.float64(), "weight of the pair that it comes from"),
            column("prompt_ids", INTS, "the prompt", unit="token ids", null=True),
            column("completion_ids", INTS, "the answer", unit="token ids", null=True),
            column("k", pa.int32(), "fresh continuations of the answer", unit="rollouts"),
            column("successes", pa.int32(), "of these solved", unit="rollouts"),
            column("kind", TEXT, "how its pair was made"),
            column("agent", TEXT, "author"),
            column("task_id", TEXT, "the task"),
            column("pair_id", TEXT, "the pair that it comes from"),
            column("split", TEXT, "train, validation or test, by question"),
        ]
    ),
    key=("pair_id", "label"),
    sort_by=(),
    partition=(),
)

STEPWISE = Table(
    name="stepwise",
    doc="The messages of a rollout up to its first error, each labelled: for training process reward models.",
    row="rollout, localizer and target",
    schema=pa.schema(
        [
            column("prompt", TEXT, "the question"),
            column("completions", TEXTS, "the agents' messages, with what tools said in between"),
            column("labels", BOOLS, "one a message: true before the first error, false at it"),
            column("scores", pa.large_list(pa.float64()), "the process model's own scores, where it gave any"),
            column("agents", TEXTS, "author of each message"),
            column("message_indices", INTS, "place of each message in the rollout"),
            column("localizer", TEXT, "what says so; outcome: the run succeeded, no step was looked at"),
            column("target", TEXT, "first_wrong: false is the earliest wrong step; decisive: the earliest whose "
                   "correction flips the outcome, so that true is not a proof of right; success: all true"),
            column("confidence", pa.float64(), "the localizer's confidence", unit="share in [0, 1]", null=True),
            column("task_id", TEXT, "the task"),
            column("trajectory_id", TEXT, "the rollout"),
            column("split", TEXT, "train, validation or test, by question"),
        ]
    ),
    key=("trajectory_id", "localizer", "target"),
    sort_by=("task_id", "trajectory_id", "localizer", "target"),
    partition=(),
)  # fmt: skip

CONFIGS: dict[str, Table] = {"preference": PREFERENCES, "kto": KTO, "stepwise": STEPWISE, "grpo": TRAIN_ROWS}
"""The configurations of an exported data set, the default one first."""

SPLITS = ("train", "validation", "test")

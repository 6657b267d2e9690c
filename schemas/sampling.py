"""Tables of what was asked and what was said: tasks, policies, trajectories, messages."""

from __future__ import annotations

import pyarrow as pa

from apportion.schemas.table import BOOLS, FLOATS, INTS, TEXT, TEXTS, Table, column, one_of

TASKS = Table(
    name="tasks",
    doc="Questions with their reference answers.",
    row="task",
    schema=pa.schema(
        [
            column("task_id", TEXT, "hash of source, question and references"),
            column("source", TEXT, "data set that the question comes from"),
            column("split", TEXT, "train, validation or test", null=True),
            column("question", TEXT, "what the team is asked"),
            column("references", TEXTS, "aliases of the one answer, the canonical one first", twin="reference_answers"),
            column("meta", TEXT, "whatever else the source tells, as a JSON object", null=True),
        ]
    ),
    key=("task_id",),
    sort_by=("task_id",),
    invariants=(("meta_is_json", "json_valid(meta)"),),
)

POLICIES = Table(
    name="policies",
    doc="Model versions that wrote messages.",
    row="model version",
    schema=pa.schema(
        [
            column("policy_id", TEXT, "hash of weights and tokenizer"),
            column("base", TEXT, "model name or folder the version started from"),
            column("adapter", TEXT, "adapter on top of the base", null=True),
            column("weights_digest", TEXT, "hash of the weights", null=True),
            column("tokenizer_digest", TEXT, "hash of the tokenizer files", null=True),
            column("version", pa.int32(), "0 before training, one more with every update", unit="updates"),
            column("parent", TEXT, "policy_id that this version was trained from", null=True),
        ]
    ),
    key=("policy_id",),
    sort_by=("policy_id",),
    invariants=(("version_not_negative", "version >= 0"), ("no_own_parent", "parent <> policy_id")),
)

TRAJECTORIES = Table(
    name="trajectories",
    doc="Rollouts of a team on a task, with the verdict; counterfactual rollouts included.",
    row="rollout",
    schema=pa.schema(
        [
            column("trajectory_id", TEXT, "hash of config, policy, task, rollout index, seed and branch"),
            column("task_id", TEXT, "the task that was worked on"),
            column("group_id", TEXT, "the rollouts of one prompt share it", null=True),
            column("rollout_index", pa.int32(), "place in the group, from 0", null=True),
            column("batch_index", pa.int32(), "training batch it was sampled for", null=True),
            column("team", TEXT, "name of the team"),
            column("topology", TEXT, "how the team's agents are wired", null=True),
            column("origin", TEXT, "why it was sampled"),
            column("parent_trajectory_id", TEXT, "rollout that this one branched from", null=True),
            column("branch_message_index", pa.int32(), "first message that differs from the parent", null=True),
            column("removed", TEXTS, "players whose turns were replaced", null=True),
            column("outcome", pa.float64(), "the verifier's score", unit="share in [0, 1]", null=True),
            column("success", pa.bool_(), "whether the outcome counts as solved", null=True),
            column("verifier", TEXT, "verifier that gave the verdict", null=True),
            column("answer", TEXT, "final answer as extracted", null=True),
            column("seed", pa.int64(), "seed of the rollout", null=True),
            column("fault_kind", TEXT, "kind of the planted fault", null=True),
            column("fault_step", pa.int32(), "message index of the planted fault", null=True),
            column("fault_agent", TEXT, "agent that the fault was planted in", null=True),
            column("prompt_tokens", pa.int64(), "prompt tokens over all calls", unit="tokens", null=True),
            column("completion_tokens", pa.int64(), "sampled tokens over all calls", unit="tokens", null=True),
            column("text_digest", TEXT, "hash of the texts of all messages", null=True),
            column("error", TEXT, "why the rollout could not be finished", null=True),
            column("labels", TEXT, "annotations that came with an imported log, as JSON", null=True),
        ]
    ),
    key=("trajectory_id",),
    sort_by=("task_id", "group_id", "rollout_index", "trajectory_id"),
    invariants=(
        one_of("origin", "sampled", "replay", "repair", "monte_carlo", "solo", "injected", "imported"),
        ("outcome_in_unit_interval", "outcome BETWEEN 0 AND 1"),
        ("success_has_outcome", "success IS NULL OR outcome IS NOT NULL"),
        ("tokens_not_negative", "prompt_tokens >= 0 AND completion_tokens >= 0"),
        ("branch_has_parent", "branch_message_index IS NULL OR parent_trajectory_id IS NOT NULL"),
    ),
)

MESSAGES = Table(
    name="messages",
    doc="Everything that was said, with the tokens as the sampler had them; null tokens for imported logs.",
    row="message",
    schema=pa.schema(
        [
            column("trajectory_id", TEXT, "the rollout it belongs to"),
            column("task_id", TEXT, "the task of the rollout"),
            column("message_index", pa.int32(), "place in the rollout, from 0"),
            column("agent", TEXT, "who wrote it; for a tool result, whose call produced it"),
            column("role", TEXT, "chat role"),
            column("agent_call_id", pa.int32(), "call of an agent that it is part of; 0 is the top call"),
            column("parent_call_id", pa.int32(), "call that spawned this one", null=True),
            column("kind", TEXT, "system prompt, task, an agent's message or a tool's result"),
            column("context", INTS, "message indices in view; null: all earlier ones, less others' prompts", null=True),
            column("text", TEXT, "what was said"),
            column("examples", TEXT, "worked examples of a system prompt, JSON list of [said, answered]", null=True),
            column("is_outcome", pa.bool_(), "whether the answer is read from it"),
            column("prompt_ids", INTS, "prompt as sent to the sampler", unit="token ids", null=True),
            column("completion_ids", INTS, "completion as sampled", unit="token ids", null=True),
            column("completion_mask", BOOLS, "false on forced and tool tokens", null=True),
            column("sampling_logprobs", FLOATS, "processed log-probability of each token", unit="nat", null=True),
            column("temperature", pa.float64(), "sampling temperature", null=True),
            column("top_p", pa.float64(), "nucleus share; 1 is off", unit="share in [0, 1]", null=True),
            column("top_k", pa.int32(), "top-k cut; 0 or -1 is off", unit="tokens", null=True),
            column("seed", pa.int64(), "seed of the request", null=True),
            column("constrained", pa.bool_(), "whether a grammar constrained the decoding", null=True),
            column("finish_reason", TEXT, "why the sampler stopped", null=True),
            column("truncated", pa.bool_(), "whether the token limit cut it", null=True),
            column("tool_name", TEXT, "tool that was called", null=True),
            column("tool_input", TEXT, "input of the tool call", null=True),
            column("tool_valid", pa.bool_(), "whether the call was well-formed and the tool ran", null=True),
            column("state_key", TEXT, "environment state it was written in", null=True),
            column("trainable", pa.bool_(), "whether its tokens may enter a policy gradient", null=True),
            column("policy_id", TEXT, "model version that wrote it", null=True),
            column("recipient", TEXT, "agent it is addressed to", null=True),
            column("source_index", pa.int32(), "index of the message in the imported log", null=True),
        ]
    ),
    key=("trajectory_id", "message_index"),
    sort_by=("trajectory_id", "message_index"),
    invariants=(
        one_of("role", "system", "user", "assistant", "tool"),
        one_of("kind", "system", "task", "message", "tool_result", "notice"),
        ("index_not_negative", "message_index >= 0"),
        ("context_is_earlier", "list_max(context) < message_index AND list_min(context) >= 0"),
        ("one_mask_value_a_token", "len(completion_mask) = len(completion_ids)"),
        ("one_logprob_a_token", "len(sampling_logprobs) = len(completion_ids)"),
        ("logprobs_not_positive", "list_max(sampling_logprobs) <= 1e-4"),
        ("trainable_has_tokens", "NOT trainable OR completion_ids IS NOT NULL"),
        (
            "trainable_is_unfiltered",
            "NOT trainable OR (NOT coalesce(constrained, false) AND coalesce(top_p, 1) >= 1 "
            "AND coalesce(top_k, 0) <= 0)",
        ),
        ("examples_are_json", "json_valid(examples)"),
    ),
)

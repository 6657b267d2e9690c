"""Tables of the success branch: games, coalitions, credits, interactions, message credits."""

from __future__ import annotations

import pyarrow as pa

from apportion.schemas.table import TEXT, TEXTS, Table, column, one_of

GAMES = Table(
    name="games",
    doc="Cooperative games whose value is the worth of a trajectory with some players masked.",
    row="game",
    schema=pa.schema(
        [
            column("game_id", TEXT, "hash of all other columns but leak"),
            column("trajectory_id", TEXT, "the rollout that is played over"),
            column("players", TEXTS, "players in the order of coalitions.kept"),
            column("player_kind", TEXT, "whether a player is an agent or a single message"),
            column("value_kind", TEXT, "value function, with parameters that have no column here"),
            column("cue", TEXT, "text before the target", null=True),
            column(
                "window",
                pa.int32(),
                "context window that the view was fitted to",
                unit="tokens",
                null=True,
                twin="game_window",
            ),
            column("masking", TEXT, "what stands for a masked message", null=True),
            column("view", TEXT, "whose context is masked", null=True),
            column("answerer", TEXT, "whether the answering message is the outcome or a player", null=True),
            column("scorer", TEXT, "model that values, may differ from the sampler", null=True),
            column("target", TEXT, "what is scored: the reference or the verdict", null=True),
            column("k", pa.int32(), "samples a coalition", unit="samples", null=True),
            column("decoding", TEXT, "decoding parameters of sampled values, as JSON", null=True),
            column("seed", pa.int64(), "seed of sampled values", null=True),
            column("branch", pa.int32(), "message index a replay branches at", null=True),
            column(
                "leak",
                pa.float64(),
                "largest share of a message repeated later by others",
                unit="share in [0, 1]",
                null=True,
            ),
        ]
    ),
    key=("game_id",),
    sort_by=("trajectory_id", "game_id"),
    invariants=(
        one_of("player_kind", "agent", "message"),
        one_of("answerer", "outcome", "player"),
        ("players_differ", "len(players) = len(list_distinct(players))"),
        ("leak_in_unit_interval", "leak BETWEEN 0 AND 1"),
        ("decoding_is_json", "json_valid(decoding)"),
    ),
)

COALITIONS = Table(
    name="coalitions",
    doc="Values of the coalitions that were looked at.",
    row="coalition of a game",
    schema=pa.schema(
        [
            column("game_id", TEXT, "the game"),
            column("trajectory_id", TEXT, "the rollout of the game"),
            column("kept", TEXT, "one character a player in the game's order: 1 kept, 0 masked"),
            column("value", pa.float64(), "worth of the coalition", unit="share in [0, 1]"),
            column("sum_log_p", pa.float64(), "log-probability of the target's tokens", unit="nat", null=True),
            column("target_tokens", pa.int32(), "tokens of the target", unit="tokens", null=True),
            column("successes", pa.float64(), "verified successes among k", unit="samples", null=True),
            column("k", pa.int32(), "samples behind the value", unit="samples", null=True),
            column("stderr", pa.float64(), "standard error of a sampled value", unit="share", null=True),
            column("prompt_tokens", pa.int64(), "prompt tokens scored", unit="tokens", null=True),
            column("cached_tokens", pa.int64(), "of these, served by the prefix cache", unit="tokens", null=True),
            column("truncated", pa.bool_(), "whether the context was cut to fit", null=True),
        ]
    ),
    key=("game_id", "kept"),
    sort_by=("trajectory_id", "game_id", "kept"),
    invariants=(
        ("kept_is_binary", "regexp_full_match(kept, '[01]*')"),
        ("value_in_unit_interval", "value BETWEEN 0 AND 1"),
        ("log_p_not_positive", "sum_log_p <= 1e-4"),
        ("successes_within_k", "successes BETWEEN 0 AND k"),
        ("cache_within_prompt", "cached_tokens BETWEEN 0 AND prompt_tokens"),
        ("stderr_not_negative", "stderr >= 0"),
    ),
)

CREDITS = Table(
    name="credits",
    doc="Who deserves the outcome: the credit of each player by each estimator.",
    row="player, game and estimator",
    schema=pa.schema(
        [
            column("game_id", TEXT, "the game"),
            column("trajectory_id", TEXT, "the rollout of the game"),
            column("task_id", TEXT, "the task of the rollout"),
            column("player", TEXT, "agent, or message index as text"),
            column("player_kind", TEXT, "agent or message"),
            column("role", TEXT, "role that the player's agent has in the team", null=True),
            column("efficient", pa.bool_(), "whether the game's credits sum to v_full - v_empty by construction"),
            column("credit", pa.float64(), "credit; null for the channel of the outcome", unit="value", null=True),
            column("loo", pa.float64(), "leave-one-out difference, not conserved", unit="value", null=True),
            column("stderr", pa.float64(), "standard error of the credit", unit="value", null=True),
            column("stderr_source", TEXT, "what the standard error covers"),
            column("ci_low", pa.float64(), "lower end of the 95 % interval", unit="value", null=True),
            column("ci_high", pa.float64(), "upper end of the 95 % interval", unit="value", null=True),
            column("evaluations", pa.int64(), "coalitions valued for the game", unit="coalitions", null=True),
            column("v_full", pa.float64(), "value of all players together", unit="share in [0, 1]", null=True),
            column("v_empty", pa.float64(), "value with every player masked", unit="share in [0, 1]", null=True),
            column("residual", pa.float64(), "v_full - v_empty less the sum of credits", unit="value", null=True),
        ]
    ),
    key=("game_id", "player"),
    sort_by=("trajectory_id", "game_id", "player"),
    partition=("run_id", "estimator"),
    invariants=(
        one_of("player_kind", "agent", "message"),
        one_of("stderr_source", "none", "estimator", "rollout", "both"),
        (
            "efficient_credit_bounded",  # a sampled one may leave the range by its error
            "NOT efficient OR stderr_source IN ('estimator', 'both') OR abs(credit) <= 1 + 1e-9",
        ),
        ("loo_bounded", "abs(loo) <= 1 + 1e-9"),
        ("values_in_unit_interval", "v_full BETWEEN 0 AND 1 AND v_empty BETWEEN 0 AND 1"),
        ("interval_ordered", "ci_low <= ci_high"),
        ("no_pretended_error", "stderr_source <> 'none' OR (stderr IS NULL AND ci_low IS NULL)"),
        ("stderr_not_negative", "stderr >= 0"),
    ),
)

INTERACTIONS = Table(
    name="interactions",
    doc="Interaction of pairs: negative where redundant, positive where the two need each other.",
    row="pair of players of a game and index",
    schema=pa.schema(
        [
            column("game_id", TEXT, "the game"),
            column("trajectory_id", TEXT, "the rollout of the game"),
            column("player_a", TEXT, "the player that comes first in the game's order"),
            column("player_b", TEXT, "the other player"),
            column("index", TEXT, "interaction index, such as shapley"),
            column("value", pa.float64(), "interaction", unit="value"),
        ]
    ),
    key=("game_id", "player_a", "player_b", "index"),
    sort_by=("trajectory_id", "game_id", "player_a", "player_b", "index"),
    invariants=(("players_differ", "player_a <> player_b"),),
)

MESSAGE_CREDITS = Table(
    name="message_credits",
    doc="The credit of each agent, shared out over its messages; the shares sum to the agent's credit.",
    row="message, game and estimator",
    schema=pa.schema(
        [
            column("game_id", TEXT, "the game"),
            column("trajectory_id", TEXT, "the rollout of the game"),
            column("message_index", pa.int32(), "the message"),
            column("agent", TEXT, "its author, a player of the game"),
            column("credit", pa.float64(), "share of the agent's credit", unit="value", null=True),
            column("helpfulness", pa.float64(), "process model's verdict", unit="in [-1, 1]", null=True),
            column(
                "redundancy",
                pa.float64(),
                "largest similarity to what was in view",
                unit="in [0, 1]",
                null=True,
            ),
            column("estimator", TEXT, "estimator of the agent's credit that is shared out"),
        ]
    ),
    key=("game_id", "trajectory_id", "message_index", "estimator"),
    sort_by=("trajectory_id", "game_id", "estimator", "message_index"),
    invariants=(
        ("helpfulness_bounded", "helpfulness BETWEEN -1 AND 1"),
        ("redundancy_bounded", "redundancy BETWEEN 0 AND 1"),
    ),
)

"""Every table declared once: columns, types, units, meaning, invariants."""

from __future__ import annotations

from dataclasses import dataclass

from apportion.schemas.credit import COALITIONS, CREDITS, GAMES, INTERACTIONS, MESSAGE_CREDITS
from apportion.schemas.failures import LOCALIZATIONS, PREFERENCES, REPAIRS, STEPS
from apportion.schemas.quality import AUDIT, REJECTS
from apportion.schemas.sampling import MESSAGES, POLICIES, TASKS, TRAJECTORIES
from apportion.schemas.table import SchemaError, Table, Violation
from apportion.schemas.training import ADVANTAGES, NORMALIZER_STATE, TRAIN_ROWS, TRAINING_LOG

__all__ = ["RELATIONS", "SCHEMA_VERSION", "TABLES", "Relation", "SchemaError", "Table", "Violation"]

SCHEMA_VERSION = 1

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        TASKS,
        POLICIES,
        TRAJECTORIES,
        MESSAGES,
        GAMES,
        COALITIONS,
        CREDITS,
        INTERACTIONS,
        MESSAGE_CREDITS,
        STEPS,
        LOCALIZATIONS,
        REPAIRS,
        PREFERENCES,
        ADVANTAGES,
        TRAIN_ROWS,
        NORMALIZER_STATE,
        TRAINING_LOG,
        AUDIT,
        REJECTS,
    )
}


@dataclass(frozen=True)
class Relation:
    """What must hold between tables of one run: `broken` selects one text `label` a thing that breaks it.

    `broken` names the tables as views and filters on `run_id = $run_id`. `table` is where the fault lies.
    """

    name: str
    table: str
    doc: str
    broken: str


def _orphans(child: str, parent: str, key: str) -> Relation:
    return Relation(
        f"{child}_without_{parent}",
        child,
        f"every {key} of {child} is in {parent}",
        f"SELECT DISTINCT {key} AS label FROM {child} WHERE run_id = $run_id AND {key} NOT IN "
        f"(SELECT {key} FROM {parent} WHERE run_id = $run_id)",
    )


RELATIONS: tuple[Relation, ...] = (
    _orphans("messages", "trajectories", "trajectory_id"),
    _orphans("games", "trajectories", "trajectory_id"),
    _orphans("coalitions", "games", "game_id"),
    _orphans("credits", "games", "game_id"),
    _orphans("interactions", "games", "game_id"),
    _orphans("message_credits", "games", "game_id"),
    *(
        _orphans(name, "trajectories", "trajectory_id")
        for name in ("steps", "localizations", "repairs", "advantages", "train_rows")
    ),
    _orphans("preferences", "tasks", "task_id"),
    Relation(
        "kept_length",
        "coalitions",
        "kept has one character a player of its game",
        "SELECT DISTINCT game_id AS label FROM coalitions JOIN games USING (run_id, game_id) "
        "WHERE run_id = $run_id AND length(kept) <> len(players)",
    ),
    Relation(
        "credits_conserved",
        "credits",
        "the credits of an efficient estimator sum to v_full - v_empty within 1e-6, game by game",
        "SELECT game_id || ' ' || estimator || coalesce(': off by ' || gap, ': no value') AS label FROM "
        "(SELECT game_id, estimator, sum(credit) - any_value(v_full - v_empty) AS gap FROM credits "
        "WHERE run_id = $run_id AND efficient GROUP BY ALL HAVING count(credit) > 0) "
        "WHERE NOT coalesce(abs(gap) <= 1e-6, false)",
    ),
    Relation(
        "message_credits_conserved",
        "message_credits",
        "an agent's message credits sum to its credit by the same estimator within 1e-6; where messages are the "
        "players, each is its own credit",
        "SELECT game_id || ' ' || agent || ' ' || estimator || "
        "coalesce(': off by ' || (total - credit), ': the agent has no credit') AS label FROM "
        "(SELECT m.game_id, CASE WHEN player_kind = 'message' THEN message_index::VARCHAR ELSE agent END AS agent, "
        "estimator, sum(credit) AS total FROM message_credits m "
        "LEFT JOIN (SELECT game_id, player_kind FROM games WHERE run_id = $run_id) USING (game_id) "
        "WHERE run_id = $run_id GROUP BY ALL HAVING count(credit) > 0) "
        "LEFT JOIN (SELECT game_id, player AS agent, estimator, credit FROM credits"
        " WHERE run_id = $run_id) USING (game_id, agent, estimator) "
        "WHERE NOT coalesce(abs(total - credit) <= 1e-6, false)",
    ),
)

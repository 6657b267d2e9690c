"""A trajectory as a cooperative game: who the players are, what is masked, what the answering agent saw."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config import AnnotateConfig
from pipeline.ids import digest
from pipeline.teams.render import Chat, chat

NEUTRAL = "(no message)"
"""What stands in the place of a masked message."""


@dataclass(frozen=True)
class Shown:
    """A message in the answering agent's view. `owner`: the player with whom it is masked, if any."""

    index: int
    role: str
    kind: str
    agent: str
    text: str
    owner: str | None


@dataclass(frozen=True)
class Game:
    """One trajectory's game. `game_id` hashes everything below, so different games are never mixed."""

    game_id: str
    trajectory_id: str
    task_id: str
    players: tuple[str, ...]
    roles: Mapping[str, str]
    reader: str
    system: str
    examples: tuple[tuple[str, str], ...]
    view: tuple[Shown, ...]
    target: str
    cue: str
    window: int
    masking: str
    answerer: str
    scorer: str

    def coalition(self, kept: int) -> Chat:
        """The answering agent's chat when only the players of the bitmask `kept` are there."""
        present = {player for bit, player in enumerate(self.players) if kept >> bit & 1}
        shown = []
        for message in self.view:
            if message.owner is None or message.owner in present:
                shown.append((message.role, message.kind, message.agent, message.text))
            elif self.masking == "placeholder":
                shown.append((message.role, message.kind, message.agent, NEUTRAL))
        return chat(self.reader, self.system, self.examples, shown)

    def row(self, leak: float | None) -> dict[str, Any]:
        """The row of `games`."""
        return {
            "game_id": self.game_id,
            "trajectory_id": self.trajectory_id,
            "players": list(self.players),
            "player_kind": "agent",
            "value_kind": "likelihood",
            "cue": self.cue,
            "window": self.window,
            "masking": self.masking,
            "view": "answerer",
            "answerer": self.answerer,
            "scorer": self.scorer,
            "target": self.target,
            "leak": leak,
        }


def build_game(
    trajectory: Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]],
    target: str,
    config: AnnotateConfig,
    answerer: str,
    scorer: str,
    window: int,
    roles: Mapping[str, str] | None = None,
) -> Game | None:
    """The game of one trajectory, or None when nobody but the answering message could be masked.

    The view is the context that the answering agent really had; a log without an answering message is seen whole, and
    is read by someone who takes the floor after it. Tool results go with the agent whose call produced them.
    Under `answerer = outcome` the answering message is the channel through which the value is read: it is no one's.
    Under `player` it stands in the view like any other, and the value is read after it.
    """
    by_index = {int(row["message_index"]): row for row in messages}
    outcome = next((row for row in messages if row["is_outcome"]), None)
    last = outcome or _last_turn(messages)
    if outcome is None and trajectory["origin"] == "imported":
        context = sorted(by_index)
    else:
        context = [int(i) for i in (last["context"] or ())] if last is not None else []
        if last is not None and (outcome is None or answerer == "player"):
            context = [*context, int(last["message_index"])]
    reader = str(last["agent"]) if last is not None and trajectory["origin"] != "imported" else ""
    system = next((r for r in messages if r["kind"] == "system" and r["agent"] == reader), None)
    view = tuple(
        Shown(i, str(row["role"]), str(row["kind"]), str(row["agent"]), str(row["text"] or ""), _owner(row))
        for i in context
        if (row := by_index[i])["kind"] != "system"
    )
    players = tuple(dict.fromkeys(message.owner for message in view if message.owner))
    if not players:
        return None
    examples = tuple(map(tuple, json.loads(system["examples"]))) if system and system["examples"] else ()
    identity = {
        "trajectory": trajectory["trajectory_id"], "text": trajectory["text_digest"], "players": players,
        "value": config.value, "cue": config.cue, "masking": config.masking, "view": "answerer",
        "answerer": answerer, "scorer": scorer, "target": target, "neutral": NEUTRAL, "window": window,
    }  # fmt: skip
    return Game(
        game_id="v" + digest(identity, 20),
        trajectory_id=str(trajectory["trajectory_id"]),
        task_id=str(trajectory["task_id"]),
        players=players,
        roles={player: roles[player] for player in players if roles and player in roles},
        reader=reader,
        system=str(system["text"] or "") if system else "",
        examples=examples,
        view=view,
        target=target,
        cue=config.cue,
        window=window,
        masking=config.masking,
        answerer=answerer,
        scorer=scorer,
    )


def _owner(row: Mapping[str, Any]) -> str | None:
    return str(row["agent"]) if row["role"] in ("assistant", "tool") and row["kind"] != "notice" else None


def _last_turn(messages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The last message of the call that the task itself made (workers' reports are not the team's)."""
    top = [r for r in messages if r["role"] == "assistant" and not r["agent_call_id"]]
    return top[-1] if top else None

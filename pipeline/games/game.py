"""A trajectory as a cooperative game: who the players are, what is masked, what the answering agent saw."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from apportion.pipeline.core.ids import digest
from apportion.pipeline.trajectory.context import context_of
from apportion.pipeline.trajectory.people import is_person
from apportion.pipeline.trajectory.render import NEUTRAL, Chat, chat


@dataclass(frozen=True)
class Rules:
    """What the games of one annotation have in common; all of it enters their ids."""

    value: str
    scorer: str
    answerer: str
    masking: str | None = None
    cue: str | None = None
    window: int | None = None
    k: int | None = None
    """Samples behind each value, where values are sampled."""
    decoding: str | None = None
    """How they are sampled, as JSON."""
    seed: int | None = None


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
    """One trajectory's game. `game_id` hashes everything that the values depend on: different games are never mixed."""

    game_id: str
    trajectory_id: str
    task_id: str
    players: tuple[str, ...]
    rules: Rules
    target: str
    """What is scored: the reference answer, or whose verdict."""
    kind: str = "agent"
    """Whether a player is an agent or a message."""
    agents: tuple[str, ...] = ()
    """The agent of each player."""
    roles: Mapping[str, str] | None = None
    """Role of an agent, where it is known."""
    reader: str = ""
    system: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    view: tuple[Shown, ...] = ()
    branch: int | None = None
    """Index of the message from which a replay parts from the trajectory."""

    @property
    def full(self) -> int:
        """The coalition of all players."""
        return (1 << len(self.players)) - 1

    @property
    def unions(self) -> tuple[str, ...] | None:
        """Messages are united by their agents; agents are not."""
        return self.agents if self.kind == "message" else None

    def coalition(self, kept: int) -> Chat:
        """The answering agent's chat when only the players of the bitmask `kept` are there."""
        present = {player for bit, player in enumerate(self.players) if kept >> bit & 1}
        shown = []
        for message in self.view:
            if message.owner is None or message.owner in present:
                shown.append((message.role, message.kind, message.agent, message.text))
            elif self.rules.masking == "placeholder":
                shown.append((message.role, message.kind, message.agent, NEUTRAL))
        return chat(self.reader, self.system, self.examples, shown)

    def row(self, leak: float | None) -> dict[str, Any]:
        """The row of `games`."""
        rules = self.rules
        return {
            "game_id": self.game_id,
            "trajectory_id": self.trajectory_id,
            "players": list(self.players),
            "player_kind": self.kind,
            "value_kind": rules.value,
            "cue": rules.cue,
            "window": rules.window,
            "masking": rules.masking,
            "view": "answerer" if self.view else None,
            "answerer": rules.answerer,
            "scorer": rules.scorer,
            "target": self.target,
            "k": rules.k,
            "decoding": rules.decoding,
            "seed": rules.seed,
            "branch": self.branch,
            "leak": leak,
        }


def build_game(
    trajectory: Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]],
    target: str,
    rules: Rules,
    roles: Mapping[str, str] | None = None,
    kind: str = "agent",
) -> Game | None:
    """The game over what the answering agent saw, or None when nobody but the answering message could be masked.

    The view is the context that the answering agent really had; a log without an answering message is seen whole, and
    is read by someone who takes the floor after it. Tool results go with the message whose call produced them.
    Under `answerer = outcome` the answering message is the channel through which the value is read: it is no one's.
    Under `player` it stands in the view like any other, and the value is read after it.
    With `kind = "message"` every masked message is a player of its own, named by its index.
    """
    by_index = {int(row["message_index"]): row for row in messages}
    outcome = next((row for row in messages if row["is_outcome"]), None)
    last = outcome or _last_turn(messages)
    if outcome is None and trajectory["origin"] == "imported":
        context = sorted(by_index)
    else:
        context = context_of(last, messages) if last is not None else []
        if last is not None and (outcome is None or rules.answerer == "player"):
            context = [*context, int(last["message_index"])]
    reader = str(last["agent"]) if last is not None and trajectory["origin"] != "imported" else ""
    system = next((r for r in messages if r["kind"] == "system" and r["agent"] == reader), None)
    owners = _owners(messages, kind, imported=trajectory["origin"] == "imported")
    view = tuple(
        Shown(i, str(row["role"]), str(row["kind"]), str(row["agent"]), str(row["text"] or ""), owners.get(i))
        for i in context
        if (row := by_index[i])["kind"] != "system"
    )
    players = tuple(dict.fromkeys(message.owner for message in view if message.owner))
    if not players:
        return None
    agent_of = {message.owner: message.agent for message in view if message.owner}
    return Game(
        game_id=game_id(trajectory, players, rules, target, kind),
        trajectory_id=str(trajectory["trajectory_id"]),
        task_id=str(trajectory["task_id"]),
        players=players,
        rules=rules,
        target=target,
        kind=kind,
        agents=tuple(agent_of[player] for player in players),
        roles=roles,
        reader=reader,
        system=str(system["text"] or "") if system else "",
        examples=tuple(map(tuple, json.loads(system["examples"]))) if system and system["examples"] else (),
        view=view,
    )


def game_id(
    trajectory: Mapping[str, Any],
    players: Sequence[str],
    rules: Rules,
    target: str,
    kind: str,
    branch: int | None = None,
) -> str:
    """Hash of everything that a game's values depend on."""
    identity = {
        "trajectory": trajectory["trajectory_id"], "text": trajectory["text_digest"], "players": list(players),
        "kind": kind, "target": target, "neutral": NEUTRAL, "branch": branch, **asdict(rules),
    }  # fmt: skip
    return "v" + digest(identity, 20)


def _owners(messages: Sequence[Mapping[str, Any]], kind: str, imported: bool = False) -> dict[int, str]:
    """The player with whom each message is masked: its agent, or the message itself with its tool results.

    In an imported log a speaker whose name says that it is a person is nobody's player, whatever its role.
    """
    owners: dict[int, str] = {}
    calls: dict[tuple[Any, Any], str] = {}
    for row in messages:
        index = int(row["message_index"])
        if row["role"] not in ("assistant", "tool") or row["kind"] == "notice":
            continue
        agent = str(row["agent"])
        if imported and is_person(agent):
            continue
        if kind == "agent":
            owners[index] = agent
            continue
        call = (agent, row["agent_call_id"])
        if row["role"] == "assistant":
            calls[call] = str(index)
        owners[index] = calls.get(call, str(index))
    return owners


def _last_turn(messages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The last message of the call that the task itself made (workers' reports are not the team's)."""
    top = [r for r in messages if r["role"] == "assistant" and not r["agent_call_id"]]
    return top[-1] if top else None

"""Sampling: every live conversation of a shard advances together, one call per engine and round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from apportion.pipeline.core.config import SampleConfig
from apportion.pipeline.core.ids import digest, seed_of
from apportion.pipeline.core.limits import limited
from apportion.pipeline.engines.base import Sample, SampleRequest, Voice, engines_of
from apportion.pipeline.play.team import Team
from apportion.pipeline.teams.base import Conversation, DivergedError, Message, Play, Scripted, Turn
from apportion.pipeline.trajectory.markers import ForgedRolesError
from apportion.pipeline.trajectory.render import NEUTRAL, Chat, chat, prompt_ids
from apportion.pipeline.trajectory.task import Task
from apportion.pipeline.verifiers.base import Verifier, binary


@dataclass(frozen=True)
class Rollout:
    """One conversation to sample: what its id and seed are made of."""

    task: Task
    index: int
    origin: str
    trajectory_id: str
    group_id: str
    seed: int
    parent: str | None = None
    """The trajectory that this one branches from."""
    branch: int | None = None
    """Index of the first message that is not the parent's."""
    script: tuple[Scripted, ...] = ()
    """Messages to repeat before anything is sampled."""
    removed: tuple[str, ...] = ()
    """Agents that write nothing but the placeholder after that."""


@dataclass(frozen=True)
class Played:
    """A finished conversation."""

    rollout: Rollout
    talk: Conversation
    team: Team
    policies: Mapping[str, str]
    """Agent -> id of the policy that wrote what was not repeated."""


def rollouts(
    tasks: Sequence[Task], config: SampleConfig, seed: int, policy: str, spec: str, origin: str
) -> list[Rollout]:
    """The rollouts of `tasks`, group by group. Ids hash configuration, policy, task, index, seed and origin."""
    result = []
    for task in tasks:
        group = "g" + digest([spec, policy, task.task_id, seed, origin])
        for index in range(config.group_size):
            trajectory = "j" + digest([group, index])
            result.append(Rollout(task, index, origin, trajectory, group, seed_of(seed, trajectory)))
    return result


def play(
    voices: Mapping[str, Voice],
    team: Team,
    asked: Sequence[Rollout],
    config: SampleConfig,
    progress: Callable[[int], None] | None = None,
) -> list[Played]:
    """Play every rollout to its end. `voices`: of every agent.

    One call per engine and round, for the turns of all live conversations.
    """
    policies = {agent: voice.policy_id for agent, voice in voices.items()}
    played = [Played(rollout, team.talk(rollout.task, rollout.script), team, policies) for rollout in asked]
    live: list[tuple[Played, Play, list[Turn]]] = []
    for one in played:
        game = team.topology.play(one.talk)
        _advance(one, game, None, live, progress)
    while live:
        written = _write(voices, [(one, turn) for one, _, turns in live for turn in turns], config)
        before, live, start = live, [], 0
        for one, game, turns in before:
            answers = written[start : start + len(turns)]
            start += len(turns)
            if any(message is None for message in answers):
                one.talk.error = one.talk.error or "context window full"
                _report(progress)
                continue
            _advance(one, game, [m for m in answers if m is not None], live, progress)
    return played


def _advance(
    one: Played,
    game: Play,
    messages: list[Message] | None,
    live: list[tuple[Played, Play, list[Turn]]],
    progress: Callable[[int], None] | None,
) -> None:
    try:
        turns = next(game) if messages is None else game.send(messages)
    except StopIteration:
        _report(progress)
        return
    except Exception as error:  # a team's or tool's own code: its fault ends its conversation, never the shard
        one.talk.error = f"{type(error).__name__}: {error}"
        one.talk.fault, one.talk.diverged = True, isinstance(error, DivergedError)
        _report(progress)
        return
    live.append((one, game, turns))


def _report(progress: Callable[[int], None] | None) -> None:
    if progress:
        progress(1)


def _write(
    voices: Mapping[str, Voice], turns: Sequence[tuple[Played, Turn]], config: SampleConfig
) -> list[Message | None]:
    """The messages written for `turns`; None where the prompt leaves no room in the context window, or cannot be made.

    A script's turns are repeated without an engine: in every conversation they come before the sampled ones.
    """
    messages: list[Message | None] = [None] * len(turns)
    fresh: list[int] = []
    for position, (one, turn) in enumerate(turns):
        recorded = one.talk.scripted(len(one.talk.messages))
        if recorded is None and turn.agent in one.rollout.removed:
            messages[position] = one.talk.write(turn, NEUTRAL)
        elif recorded is None:
            fresh.append(position)
        else:
            try:
                messages[position] = one.talk.write(turn, recorded.text)
            except DivergedError as error:
                one.talk.error, one.talk.fault, one.talk.diverged = str(error), True, True
    for position, request, sample in sorted(_sampled(voices, turns, fresh, config), key=itemgetter(0)):
        one, turn = turns[position]
        message = one.talk.write(turn, sample.text.strip())
        message.prompt_ids = request.prompt_ids
        message.completion_ids = sample.token_ids
        message.sampling_logprobs = sample.logprobs
        message.finish_reason = sample.finish_reason
        message.seed = request.seed
        messages[position] = message
    return messages


def _sampled(
    voices: Mapping[str, Voice], turns: Sequence[tuple[Played, Turn]], fresh: Sequence[int], config: SampleConfig
) -> Iterator[tuple[int, SampleRequest, Sample]]:
    """Position, request and sample of the `fresh` turns whose prompts fit, engine by engine."""
    for engine in engines_of(voices[turns[position][1].agent] for position in fresh):
        mine = [position for position in fresh if voices[turns[position][1].agent].engine is engine]
        prompts = _prompts(engine.tokenizer, [(turns[i][0].talk, turns[i][1]) for i in mine])
        requests: list[SampleRequest] = []
        fits: list[int] = []
        for position, prompt in zip(mine, prompts, strict=True):
            room = 0 if prompt is None else min(config.max_tokens, engine.max_model_len - len(prompt))
            if prompt is None or room < 1:
                continue
            one = turns[position][0]
            seed = seed_of(one.rollout.seed, len(one.talk.messages), position_in_round(turns, position))
            requests.append(SampleRequest(prompt, room, seed, config.temperature, config.top_p, config.top_k))
            fits.append(position)
        yield from zip(fits, requests, engine.sample(requests) if requests else [], strict=True)


def position_in_round(turns: Sequence[tuple[Played, Turn]], position: int) -> int:
    """Which of its conversation's turns of this round the turn at `position` is: it separates their seeds."""
    first = position
    while first > 0 and turns[first - 1][0] is turns[position][0]:
        first -= 1
    return position - first


def _prompts(tokenizer: Any, asked: Sequence[tuple[Conversation, Turn]]) -> list[tuple[int, ...] | None]:
    """Token ids of the turns' prompts; None where a text forges a token of the template, which ends its conversation.

    That is no fault of the agents, so there is no verdict.
    """
    chats = [_chat(talk, turn) for talk, turn in asked]
    try:
        return list(prompt_ids(tokenizer, chats))
    except ForgedRolesError:
        pass
    prompts: list[tuple[int, ...] | None] = []
    for (talk, _), turns in zip(asked, chats, strict=True):
        try:
            prompts += prompt_ids(tokenizer, [turns])
        except ForgedRolesError as error:
            talk.error, talk.fault = str(error), True
            prompts.append(None)
    return prompts


def _chat(talk: Conversation, turn: Turn) -> Chat:
    agent = talk.agents[turn.agent]
    seen = (talk.messages[i] for i in turn.view)
    shown = [(m.role, m.kind, m.agent, m.text) for m in seen if m.kind != "system"]
    return chat(agent.name, agent.system, agent.examples, shown)


def first_prompts(team: Team, task: Task, tokenizers: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Who speaks in the first round of a conversation about `task`, and the tokens of their prompts.

    `tokenizers`: of every agent.
    """
    talk = team.talk(task)
    turns = next(team.topology.play(talk), [])
    prompts = [(turn.agent, _prompts(tokenizers[turn.agent], [(talk, turn)])[0]) for turn in turns]
    return [(agent, len(ids)) for agent, ids in prompts if ids is not None]


def opening_prompt(team: Team, task: Task, agent: str, tokenizer: Any) -> tuple[int, ...] | None:
    """Token ids of a prompt in which an agent sees nothing but its instructions and the task."""
    talk = team.talk(task)
    return _prompts(tokenizer, [(talk, talk.turn(agent, [talk.question]))])[0]


def trajectory_row(played: Played, verifier: Verifier, batch: int, verifier_name: str) -> dict[str, Any]:
    """The row of `trajectories`: the answer, its verdict, and what it cost.

    No answer is a failure of the agents. Where a tool's, a team's or a verifier's own code failed there is no verdict.
    """
    talk, rollout = played.talk, played.rollout
    answer = talk.final_answer
    error = talk.error or (None if answer else "no answer")
    verdict = None if talk.fault else binary(False)
    try:
        if answer and not talk.fault:
            with limited(f"verifier {verifier_name}"):
                verdict = verifier.verify(answer, rollout.task.references)
    except Exception as fault:  # a verifier of the user's own
        error, verdict = f"verifier: {type(fault).__name__}: {fault}", None
    return {
        "trajectory_id": rollout.trajectory_id,
        "task_id": rollout.task.task_id,
        "group_id": rollout.group_id,
        "rollout_index": rollout.index,
        "batch_index": batch,
        "team": played.team.name,
        "topology": played.team.topology.name,
        "origin": rollout.origin,
        "parent_trajectory_id": rollout.parent,
        "branch_message_index": rollout.branch,
        "removed": list(rollout.removed),
        "outcome": verdict.outcome if verdict else None,
        "success": verdict.success if verdict else None,
        "verifier": verifier_name,
        "answer": answer,
        "seed": rollout.seed,
        "prompt_tokens": sum(len(m.prompt_ids or ()) for m in talk.messages),
        "completion_tokens": sum(len(m.completion_ids or ()) for m in talk.messages),
        "text_digest": digest([m.text for m in talk.messages]),
        "error": error,
    }


def message_rows(played: Played, config: SampleConfig) -> list[dict[str, Any]]:
    """The rows of `messages`, token columns as the sampler gave them.

    A truncated sampling distribution (top-p, top-k) or greedy decoding gives log-probabilities that a trainer cannot
    reproduce: such messages are stored, and marked not trainable.
    """
    trainable = config.top_p == 1.0 and config.top_k == 0 and config.temperature > 0
    rows = []
    for message in played.talk.messages:
        sampled = message.completion_ids is not None
        rows.append(
            {
                "trajectory_id": played.rollout.trajectory_id,
                "task_id": played.rollout.task.task_id,
                "message_index": message.index,
                "agent": message.agent,
                "role": message.role,
                "kind": message.kind,
                "recipient": message.recipient,
                "agent_call_id": message.call_id,
                "parent_call_id": message.parent_call_id,
                "context": list(message.context),
                "text": message.text,
                "examples": _examples(message),
                "is_outcome": message.is_outcome,
                "prompt_ids": _list(message.prompt_ids),
                "completion_ids": _list(message.completion_ids),
                "completion_mask": [True] * len(message.completion_ids or ()) if sampled else None,
                "sampling_logprobs": _list(message.sampling_logprobs),
                "temperature": config.temperature if sampled else None,
                "top_p": config.top_p if sampled else None,
                "top_k": config.top_k if sampled else None,
                "seed": message.seed,
                "constrained": False if sampled else None,
                "finish_reason": message.finish_reason,
                "truncated": message.finish_reason == "length",
                "tool_name": message.tool_name,
                "tool_input": message.tool_input,
                "tool_valid": message.tool_valid,
                "trainable": sampled and trainable,
                "policy_id": played.policies[message.agent] if sampled else None,
            }
        )
    return rows


def _examples(message: Message) -> str | None:
    import json

    return json.dumps(message.examples) if message.examples else None


def _list(values: tuple[Any, ...] | None) -> list[Any] | None:
    return None if values is None else list(values)

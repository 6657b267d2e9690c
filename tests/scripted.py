"""A language model that follows a script: a byte tokenizer with a chat template, and an engine over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apportion.pipeline.core.ids import digest
from apportion.pipeline.engines.base import Engine, Progress, Sample, SampleRequest, Score, ScoreRequest, Voice
from apportion.pipeline.play.team import Team
from apportion.pipeline.teams.base import Conversation, Topology, Turn


class ByteTokenizer:
    """One token a UTF-8 byte; the template writes every turn as `<role>content</role>` on a line of its own."""

    all_special_tokens: tuple[str, ...] = ()

    def __call__(self, texts: Sequence[str], add_special_tokens: bool = True) -> dict[str, list[list[int]]]:
        """Token ids of every text; it has special tokens only to show where one would be put twice."""
        start = [0] if add_special_tokens else []
        return {"input_ids": [start + list(text.encode()) for text in texts]}

    def apply_chat_template(
        self, turns: Sequence[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        """The chat as text."""
        assert not tokenize
        lines = [f"<{turn['role']}>{turn['content']}</{turn['role']}>\n" for turn in turns]
        return "".join(lines) + ("<assistant>" if add_generation_prompt else "")


def decoded(ids: Sequence[int]) -> str:
    """The text of some token ids."""
    return bytes(ids).decode(errors="replace")


def hashed_log_p(prefix: str, target: str) -> float:
    """A log-probability in [-2, 0) that depends on every character of both texts."""
    return -2 * (1 + int(digest([prefix, target], 8), 16)) / 2**32


@dataclass
class ScriptedEngine:
    """`reply` turns a prompt's text into the next message; `log_p` gives each target byte its log-probability.

    `rounds`, `scored` and `loaded` keep what was asked for, call by call.
    """

    reply: Callable[[str], str] = lambda prompt: ""
    log_p: Callable[[str, str], float] = hashed_log_p
    max_model_len: int = 100_000
    dtype: str = "float32"
    fingerprint: str = "scripted"
    tokenizer: Any = field(default_factory=ByteTokenizer)
    rounds: list[list[SampleRequest]] = field(default_factory=list)
    scored: list[list[ScoreRequest]] = field(default_factory=list)
    resets: int = 0
    loaded: list[Path] = field(default_factory=list)

    def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        """The script's replies, cut at `max_tokens` bytes."""
        self.rounds.append(list(requests))
        return [self._write(request) for request in requests]

    def score(self, requests: Sequence[ScoreRequest], progress: Progress | None = None) -> list[Score]:
        """`log_p` of (everything before the byte, the byte), byte by byte."""
        self.scored.append(list(requests))
        if progress:
            progress(len(requests))
        return [self._read(request) for request in requests]

    def reset_prefix_cache(self) -> None:
        """Count the call."""
        self.resets += 1

    def load_weights(self, model: Path) -> None:
        """Note the folder, forget the cache, be called after it; the script stays."""
        self.loaded.append(model)
        self.resets += 1
        self.fingerprint = f"scripted {model.name}"

    def unequal_weights(self, model: Path) -> list[str]:
        """A script has no weights that could be wrong."""
        return []

    def _write(self, request: SampleRequest) -> Sample:
        prompt = decoded(request.prompt_ids)
        whole = self.reply(prompt).encode()
        ids = tuple(whole[: request.max_tokens])
        text = bytes(ids).decode(errors="ignore")
        reason = "length" if len(ids) < len(whole) else "stop"
        return Sample(text, ids, tuple(self.log_p(prompt, str(i)) for i in range(len(ids))), reason, 0)

    def _read(self, request: ScoreRequest) -> Score:
        prefix = decoded(request.prefix_ids)
        values = tuple(
            self.log_p(prefix + decoded(request.target_ids[:i]), decoded(request.target_ids[i : i + 1]))
            for i in range(len(request.target_ids))
        )
        return Score(values, len(request.ids), 0)


def voices(team: Team, engine: Engine, policy: str = "p") -> dict[str, Voice]:
    """The same policy for every agent of a team."""
    return {agent.name: Voice(policy, engine) for agent in team.agents}


def drive(topology: Topology, talk: Conversation, write: Callable[[Turn], str]) -> list[list[Turn]]:
    """Play `talk` to its end without an engine: `write` gives the text of each turn. Returns the rounds."""
    rounds: list[list[Turn]] = []
    play = topology.play(talk)
    try:
        turns = next(play)
        while True:
            rounds.append(turns)
            turns = play.send([talk.write(turn, write(turn)) for turn in turns])
    except StopIteration:
        return rounds

"""The likelihood value: the mean log-probability of the reference, read within the context window."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import ByteTokenizer, ScriptedEngine, decoded, hashed_log_p

from apportion.pipeline.games import prompts
from apportion.pipeline.games.game import Game, Rules, Shown
from apportion.pipeline.games.prompts import ELLIPSIS, chunks, fit, kept_string
from apportion.pipeline.values import likelihood
from apportion.pipeline.values.likelihood import Asked, evaluate, tokens

TOKENIZER = ByteTokenizer()


def game(*texts: str, target: str = "rain", players: int = 3, masking: str = "drop", system: str = "") -> Game:
    """A game of up to three players who speak in turn after the question."""
    said = [
        Shown(i, "assistant", "message", f"p{i % players}", text, f"p{i % players}") for i, text in enumerate(texts, 1)
    ]
    view = (Shown(0, "user", "task", "user", "Why?", None), *said)
    names = tuple(dict.fromkeys(message.owner for message in said if message.owner))
    rules = Rules("likelihood", "s", "player", masking, "answer:", 512)
    return Game("v1", "j1", "t1", names, rules, target, agents=names, system=system, view=view)


def ask(made: Game, cue: str, window: int) -> Asked:
    """All coalitions of a game, under another cue and window."""
    ruled = replace(made, rules=replace(made.rules, cue=cue, window=window))
    return likelihood.ask(ruled, np.arange(made.full + 1), TOKENIZER)


def cut(made: Game, room: int) -> tuple[Game, float]:
    return fit(made, TOKENIZER, room)


def test_kept_string_has_one_character_a_player_in_order():
    assert [kept_string(mask, 2) for mask in range(4)] == ["00", "10", "01", "11"]


def test_one_request_a_coalition_ends_in_the_cue_and_scores_the_reference():
    asked = ask(game("a", "b"), "answer:", 1000)
    assert (len(asked.requests), asked.cut_share) == (4, 0.0)
    assert {decoded(request.target_ids) for request in asked.requests} == {" rain"}
    assert decoded(asked.requests[0b11].prefix_ids) == "<user>Question: Why?\np1: a\np2: b</user>\n<assistant>answer:"
    assert decoded(asked.requests[0b01].prefix_ids) == "<user>Question: Why?\np1: a</user>\n<assistant>answer:"
    assert decoded(asked.requests[0b10].prefix_ids) == "<user>Question: Why?\np2: b</user>\n<assistant>answer:"


def test_without_a_cue_the_reference_follows_at_once():
    asked = ask(game("a"), "", 1000)
    assert decoded(asked.requests[0].ids).endswith("<assistant>rain")


@pytest.mark.parametrize("cue", ["", "answer:"])
def test_an_empty_reference_is_refused_or_scored_as_a_space_never_silently_empty(cue: str):
    if cue:
        assert ask(game("a", target="x"), cue, 1000).requests[0].target_ids == tuple(b" x")
    else:
        with pytest.raises(ValueError, match="trajectory j1: the reference answer ' ' has no tokens"):
            ask(game("a", target=" "), cue, 1000)


def test_values_are_the_geometric_mean_of_the_token_probabilities():
    engine = ScriptedEngine()
    asked = ask(game("a", "b", masking="placeholder"), "answer:", 1000)
    done: list[int] = []
    rows = evaluate([asked, asked], engine, done.append)
    assert sum(done) == len(rows) == 8
    assert len(engine.scored) == 1
    for row, request in zip(rows, asked.requests * 2, strict=True):
        prefix = decoded(request.prefix_ids)
        logs = [hashed_log_p(prefix + " rain"[:i], " rain"[i]) for i in range(5)]
        assert row["value"] == pytest.approx(math.exp(sum(logs) / 5), rel=1e-12)
        assert row["sum_log_p"] == pytest.approx(sum(logs), rel=1e-12)
        assert (row["target_tokens"], row["prompt_tokens"]) == (5, len(request.ids))
    assert [row["kept"] for row in rows[:4]] == ["00", "10", "01", "11"]
    assert len({row["value"] for row in rows[:4]}) == 4


def test_rows_stay_with_their_game_when_games_differ_in_size():
    two, one = ask(game("a", "b"), "x", 1000), ask(game("a", players=1), "x", 1000)
    rows = evaluate([two, one], ScriptedEngine(log_p=lambda prefix, target: -float(len(prefix))))
    assert [row["kept"] for row in rows] == ["00", "10", "01", "11", "0", "1"]
    expected = [len(request.prefix_ids) + 2 for asked in (two, one) for request in asked.requests]
    assert [-row["sum_log_p"] / 5 for row in rows] == pytest.approx(expected)


def test_longest_messages_are_cut_in_the_middle_and_the_short_ones_left():
    long = "B" + "x" * 900 + "E"
    fitted, share = cut(game("short", long, "brief"), 400)
    assert [message.text for message in fitted.view][:2] == ["Why?", "short"]
    middle = fitted.view[2].text
    assert middle.startswith("Bx")
    assert middle.endswith("xE")
    assert ELLIPSIS in middle
    assert fitted.view[3].text == "brief"
    assert share == pytest.approx(1 - sum(len(m.text) for m in fitted.view) / (4 + 5 + 902 + 5))


def test_no_more_is_cut_than_needed():
    made = game("a" * 3000, "b" * 3000)
    room = 500
    asked = ask(made, "answer:", room)
    longest = max(len(request.ids) for request in asked.requests)
    assert room - 8 * len(made.view) - 2 <= longest + 1 <= room


def test_what_fits_is_left_alone():
    made = game("a", "b")
    assert cut(made, 200) == (made, 0.0)


def test_the_cut_is_the_same_for_all_coalitions_and_flagged():
    asked = ask(game("a" * 500, "b" * 500), "answer:", 300)
    assert asked.cut_share > 0
    full = decoded(asked.requests[0b11].prefix_ids)
    for mask, letter in ((0b01, "a"), (0b10, "b")):
        alone = decoded(asked.requests[mask].prefix_ids)
        said = alone.split(": ")[-1].split("</user>")[0]
        assert set(said) >= {letter}
        assert said in full
    assert all(row["truncated"] for row in evaluate([asked], ScriptedEngine()))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(12, 700), min_size=1, max_size=9), st.integers(420, 1200), st.sampled_from("aé"))
def test_every_prompt_fits_the_window(lengths: list[int], window: int, letter: str):
    made = game(*(letter * length for length in lengths), masking="placeholder")
    asked = ask(made, "answer:", window)
    assert max(len(request.ids) for request in asked.requests) + 1 <= window
    whole = len(ask(made, "answer:", 100_000).requests[-1].ids) + 1
    assert 0 < asked.cut_share <= 1 if whole > window else asked.cut_share == 0


def test_fixed_text_beyond_the_window_is_refused_with_the_cure():
    with pytest.raises(ValueError, match=r"trajectory j1: .* context window of 200; raise model\.max_model_len"):
        ask(game("a", system="s" * 400), "answer:", 200)


@pytest.mark.parametrize("masking", ["placeholder", "drop"])
def test_fixed_text_beyond_the_window_is_refused_also_where_no_message_has_a_word(masking: str):
    made = game("", "", system="s" * 400, masking=masking)
    wordless = replace(made, view=tuple(replace(message, text="") for message in made.view))
    with pytest.raises(ValueError, match=r"trajectory j1: .* context window of 200; raise model\.max_model_len"):
        ask(wordless, "answer:", 200)


def test_cost_counts_shared_prefixes_once():
    asked = ask(game("a" * 50, "b" * 50), "answer:", 1000)
    prompts = [request.ids for request in asked.requests]
    trie = {prompt[:end] for prompt in prompts for end in range(1, len(prompt) + 1)}
    assert tokens([asked]) == (sum(map(len, prompts)), len(trie))


def test_chunks_keep_the_order_and_bound_the_text(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prompts, "CHUNK_CHARACTERS", 1000)
    games = [game("x" * length, players=1) for length in (300, 100, 90, 2000, 5)]
    parts = list(chunks([(made, 2) for made in games]))
    assert [made for part in parts for made in part] == games
    assert [len(part) for part in parts] == [2, 1, 1, 1]
    assert list(chunks([])) == []

"""What was in view when a message was written, stored or not."""

from dataclasses import replace

from apportion.pipeline.games.game import Rules, build_game
from apportion.pipeline.importers.base import Turn, message_rows
from apportion.pipeline.trajectory.context import context_of

TURNS = [
    Turn("user", "user", "task", "q?"),
    Turn("A", "system", "system", "You are A."),
    Turn("B", "system", "system", "You are B."),
    *(Turn("AB"[i % 2], "assistant", "message", "x") for i in range(2000)),
]


def test_a_stored_context_is_taken_as_it_is():
    rows = [{"message_index": i, "kind": "message", "agent": "A", "context": [0] if i == 2 else []} for i in range(3)]
    assert [context_of(row, rows) for row in rows] == [[], [], [0]]


def test_an_imported_log_stores_no_lists_of_earlier_messages_and_means_them_all():
    rows = list(message_rows("i1", "t1", TURNS))
    assert sum(len(row.get("context") or ()) for row in rows) == 0, "a store that grows with the square of the length"
    assert [context_of(row, rows) for row in rows[:5]] == [[], [], [], [0, 1], [0, 2, 3]]
    assert len(context_of(rows[-1], rows)) == 2001


def test_a_game_on_an_imported_log_is_the_one_that_its_lists_would_give():
    trajectory = {"trajectory_id": "i1", "task_id": "t1", "text_digest": "d", "origin": "imported"}
    turns = [*TURNS[:6], replace(TURNS[6], is_outcome=True), Turn("A", "assistant", "message", "TERMINATE")]
    compact = [{"examples": None, **row} for row in message_rows("i1", "t1", turns)]
    listed = [{**row, "context": context_of(row, compact)} for row in compact]
    rules = Rules(value="verifier", scorer="s", answerer="player")
    games = [build_game(trajectory, rows, "1871", rules) for rows in (compact, listed)]
    assert games[0] == games[1]
    assert [shown.index for shown in games[0].view] == [0, 3, 4, 5, 6], "what came after the answer is no part of it"

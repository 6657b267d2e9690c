"""Calls, results and parts in their rarer spellings: in the text, or named."""

import json

import pytest
from chat_logs import CHAT, REPLY, USER, chat, said, save
from test_importer_forms import ARGS, BLOCK, calling

from apportion.pipeline.importers.messages import Messages

read = Messages().read


@pytest.mark.parametrize("key", ["tool_call", "toolCall", "functionCall", "tool_calls"])
def test_a_single_call_under_its_other_names_is_in_the_text(tmp_path, key):
    imported = chat(
        tmp_path,
        USER,
        calling(**{key: {"name": "find", "arguments": ARGS}}),
        {"role": "tool", "content": "1871"},
        REPLY,
    )
    assert said(imported)[1:3] == [
        ("archivist", "assistant", "message", BLOCK), ("archivist", "tool", "tool_result", "1871"),
    ]  # fmt: skip
    assert imported.notes == []


@pytest.mark.parametrize("given", ["1871", 1871, {"year": 1871}])
def test_a_result_that_stands_in_its_call_is_a_row(tmp_path, given):
    call = {"id": "c1", "name": "find", "arguments": ARGS, "result": given}
    imported = chat(tmp_path, USER, calling(tool_calls=[call]), REPLY)
    text = given if isinstance(given, str) else json.dumps(given)
    assert said(imported)[1:] == [
        ("archivist", "assistant", "message", BLOCK),
        ("archivist", "tool", "tool_result", text),
        ("archivist", "assistant", "message", "1871"),
    ]


@pytest.mark.parametrize(
    "result",
    [
        {"role": "tool", "tool_results": [{"tool_call_id": "c1", "output": "1871"}]},
        {"role": "tool", "toolResults": [{"toolCallId": "c1", "result": "1871"}]},
        {"role": "tool", "tool_call_id": "c1", "content": 1871},
    ],
)
def test_results_in_their_spellings(tmp_path, result):
    imported = chat(
        tmp_path, USER, calling(tool_calls=[{"id": "c1", "name": "find", "arguments": ARGS}]), result, REPLY
    )
    assert said(imported)[2] == ("archivist", "tool", "tool_result", "1871")


def test_a_call_that_is_text_and_no_json_is_named_with_its_message(tmp_path):
    broken = {"messages": [USER, calling(function_call="find(mill)"), REPLY]}
    (reject,) = read(save(tmp_path, broken, CHAT)).rejects
    assert reject.reason.startswith("message 1: a tool call is text, but not JSON")


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "code", "code": "print(1871)"}, "print(1871)"),
        ({"type": "markdown", "markdown": "**1871**"}, "**1871**"),
        ({"type": "text", "text": 1871}, "1871"),
        ({"type": "text", "text": {"value": 1871}}, "1871"),
    ],
)
def test_text_under_the_name_of_its_kind_and_numbers(tmp_path, part, text):
    imported = chat(tmp_path, USER, {"role": "assistant", "name": "a", "content": [None, part]})
    assert said(imported)[1][3] == text
    assert imported.notes == []

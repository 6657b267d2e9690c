"""Messages, tool calls and parts as the usual frameworks write them."""

import json
import os
from pathlib import Path

import pytest
from chat_logs import CHAT, REPLY, USER, chat, players, said, save

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.importers.messages import Messages

read = Messages().read

BLOCK = '<tool_call>\n{"name": "find", "arguments": {"q": "mill"}}\n</tool_call>'
ARGS = {"q": "mill"}
TEXT = json.dumps(ARGS)


def calling(**fields):
    return {"role": "assistant", "name": "archivist", "content": "", **fields}


@pytest.mark.parametrize(
    "call",
    [
        {"id": "c1", "type": "function", "function": {"name": "find", "arguments": TEXT}},
        {"id": "c1", "type": "function", "function": {"name": "find", "arguments": ARGS}},
        {"type": "function", "function": {"name": "find", "arguments": ARGS}},
        {"function": {"name": "find", "parameters": ARGS}},
        {"id": "c1", "name": "find", "arguments": TEXT},
        {"id": "c1", "name": "find", "args": ARGS, "type": "tool_call"},
        {"id": "c1", "function": "find", "arguments": ARGS},
        {"tool_name": "find", "tool_input": ARGS},
        {"toolCallId": "c1", "toolName": "find", "args": ARGS},
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_a_tool_call_in_its_spellings_stands_in_the_text_and_has_its_result(tmp_path, call, as_text):
    listed = json.dumps([call]) if as_text else [call]
    identity = call.get("id") or call.get("toolCallId")
    result = {"role": "tool", "name": "find", "content": "1871"} | ({"tool_call_id": identity} if identity else {})
    imported = chat(tmp_path, USER, calling(tool_calls=listed), {**REPLY, "name": "planner"}, result, REPLY)
    assert said(imported)[1] == ("archivist", "assistant", "message", BLOCK)
    row = imported.messages[3]
    assert (row["agent"], row["role"], row["kind"], row["tool_name"]) == ("archivist", "tool", "tool_result", "find")
    assert json.loads(row["tool_input"]) == ARGS


def test_a_function_call_of_the_old_interface_is_kept_with_its_result(tmp_path):
    old = calling(content=None, function_call={"name": "find", "arguments": TEXT})
    imported = chat(tmp_path, USER, old, {"role": "function", "name": "find", "content": "1871"}, REPLY)
    assert said(imported)[1:3] == [
        ("archivist", "assistant", "message", BLOCK),
        ("archivist", "tool", "tool_result", "1871"),
    ]


def test_results_without_ids_follow_their_calls_by_name_and_in_order(tmp_path):
    calls = [{"function": {"name": name, "arguments": {"n": n}}} for n, name in enumerate(("find", "sum", "find"))]
    results = [{"role": "tool", "name": name, "content": name} for name in ("sum", "find", "find")]
    imported = chat(tmp_path, USER, calling(tool_calls=calls), *results, REPLY)
    assert [row["tool_input"] for row in imported.messages[2:5]] == ['{"n": 1}', '{"n": 0}', '{"n": 2}']


def test_two_agents_that_call_at_once_keep_their_own_results(tmp_path):
    finds, sums = ([{"function": {"name": name, "arguments": {}}}] for name in ("find", "sum"))
    results = [{"role": "tool", "name": "sum", "content": "s"}, {"role": "tool", "content": "f"}]
    planner = {**calling(tool_calls=sums), "name": "planner"}
    imported = chat(tmp_path, USER, calling(tool_calls=finds), planner, *results, REPLY)
    assert [(row["agent"], row["text"]) for row in imported.messages[3:5]] == [("planner", "s"), ("archivist", "f")]


def test_one_result_may_answer_several_calls(tmp_path):
    calls = [{"id": i, "function": {"name": i, "arguments": ""}} for i in ("c1", "c2")]
    result = {"role": "tool", "content": "both", "tool_call_ids": ["c1", "c2"]}
    row = chat(tmp_path, USER, calling(tool_calls=calls), result, REPLY).messages[2]
    assert (row["agent"], row["text"], row.get("tool_name")) == ("archivist", "both", None)


def test_the_tool_responses_of_autogen_are_rows_of_their_own(tmp_path):
    calls = [{"id": i, "type": "function", "function": {"name": i, "arguments": "{}"}} for i in ("c1", "c2")]
    responses = [{"tool_call_id": i, "role": "tool", "content": f"of {i}"} for i in ("c1", "c2")]
    result = {"role": "tool", "name": "user_proxy", "content": "of c1\n\nof c2", "tool_responses": responses}
    imported = chat(tmp_path, USER, calling(tool_calls=calls), result, REPLY)
    assert [row["text"] for row in imported.messages if row["kind"] == "tool_result"] == ["of c1", "of c2"]
    assert players(imported) == ["archivist"]


def test_a_result_without_any_call_goes_to_who_spoke_and_is_told(tmp_path):
    imported = chat(tmp_path, USER, {**REPLY, "content": "Action: find"}, {"role": "tool", "content": "1871"}, REPLY)
    assert said(imported)[2] == ("archivist", "tool", "tool_result", "1871")
    assert any(note.startswith("tool results without a call") for note in imported.notes)
    with pytest.raises(UserError, match="no agent spoke before it"):
        chat(tmp_path, USER, {"role": "tool", "content": "1871"}, REPLY)


def test_the_tools_of_a_user_are_no_agents_part(tmp_path):
    asks = {"role": "user", "content": "", "tool_calls": [{"id": "u1", "name": "phone", "arguments": {"on": True}}]}
    imported = chat(tmp_path, USER, REPLY, asks, {"role": "tool", "tool_call_id": "u1", "content": "on"}, REPLY)
    assert said(imported)[2:4] == [
        ("user", "user", "message", '<tool_call>\n{"name": "phone", "arguments": {"on": true}}\n</tool_call>'),
        ("user", "user", "tool_result", "on"),
    ]
    assert players(imported) == ["archivist"]


@pytest.mark.parametrize(
    ("use", "result"),
    [
        ({"type": "tool_use", "id": "t1", "name": "find", "input": ARGS},
         {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "1871"}]}),
        ({"type": "tool-call", "toolCallId": "t1", "toolName": "find", "input": ARGS},
         {"type": "tool-result", "toolCallId": "t1", "toolName": "find", "output": "1871"}),
        ({"functionCall": {"name": "find", "args": ARGS}}, {"functionResponse": {"name": "find", "response": "1871"}}),
        ({"toolUse": {"toolUseId": "t1", "name": "find", "input": ARGS}},
         {"toolResult": {"toolUseId": "t1", "content": [{"text": "1871"}]}}),
    ],
)  # fmt: skip
def test_calls_and_results_as_parts_of_the_content(tmp_path, use, result):
    more = {"type": "text", "text": "And the lake?"}
    imported = chat(tmp_path, USER, calling(content=[{"type": "text", "text": "Looking."}, use]),
                    {"role": "user", "content": [result, more]}, REPLY)  # fmt: skip
    assert said(imported)[1:4] == [
        ("archivist", "assistant", "message", f"Looking.\n{BLOCK}"),
        ("archivist", "tool", "tool_result", "1871"),
        ("user", "user", "message", "And the lake?"),
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "1871"}, {"type": "text", "value": "1871"}, {"type": "text", "content": "1871"},
        {"type": "text", "text": {"value": "1871", "annotations": []}}, {"type": "output_text", "text": "1871"},
        {"type": "input_text", "text": "1871"}, {"text": "1871"}, {"text": {"value": "1871"}}, {"content": "1871"},
        "1871",
        {"type": "text", "text": "1871", "image_url": None}, {"block_type": "text", "text": "1871"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("listed", [True, False])
def test_text_in_its_spellings(tmp_path, part, listed):
    imported = chat(tmp_path, USER, {**REPLY, "content": [part] if listed else part})
    assert imported.trajectories[0]["answer"] == "1871"
    assert not imported.notes


@pytest.mark.parametrize("form", ["parts", "value", "text"])
def test_the_content_under_its_other_names(tmp_path, form):
    value = [{"text": "1871"}] if form == "parts" else "1871"
    imported = chat(tmp_path, USER, {"role": "model", "name": "archivist", form: value})
    assert imported.trajectories[0]["answer"] == "1871"


def test_thinking_and_what_is_no_text_stand_as_marks_and_are_counted(tmp_path):
    parts = [
        {"type": "thinking", "thinking": "the ledger", "signature": "x"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "input_audio", "input_audio": {}},
        {"inline_data": {"mime_type": "image/png", "data": "x"}},
        {"type": "file", "file": {}},
        {"type": "hologram"},
        {"type": "text", "text": "1871"},
    ]
    imported = chat(tmp_path, USER, {**REPLY, "content": parts})
    assert said(imported)[1][3].split("\n") == [
        "[thinking] the ledger", "[thinking] hm", "[image]", "[audio]", "[image]", "[file]", "[hologram]", "1871",
    ]  # fmt: skip
    assert imported.trajectories[0]["answer"] == "1871", "what was thought is no answer"
    (note,) = imported.notes
    for counted in ("[thinking] (2 parts)", "[image] (2 parts)", "[audio] (1 part)", "[file] (1 part)"):
        assert counted in note


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_a_thought_beside_the_content_is_kept_apart_from_the_answer(tmp_path, key):
    imported = chat(tmp_path, USER, {**REPLY, key: "Perhaps 1899."})
    assert said(imported)[1][3] == "[thinking] Perhaps 1899.\n1871"
    assert imported.trajectories[0]["answer"] == "1871"


@pytest.mark.parametrize("text", ["<think>Perhaps 1899.</think>\n1871", "Perhaps 1899.</think>\n\n1871"])
def test_a_thought_within_the_text_is_no_answer(tmp_path, text):
    imported = chat(tmp_path, USER, {**REPLY, "content": text})
    assert (imported.trajectories[0]["answer"], said(imported)[1][3]) == ("1871", text)


def langchain(kind, form, **fields):
    body = {"content": "", "additional_kwargs": {}, "response_metadata": {}, "id": None, "type": kind, **fields}
    if form == "data":
        return {"type": kind, "data": body}
    if form == "kwargs":
        names = {"human": "HumanMessage", "ai": "AIMessage", "tool": "ToolMessage", "system": "SystemMessage"}
        path = ["langchain", "schema", "messages", names[kind]]
        return {"lc": 1, "type": "constructor", "id": path, "kwargs": body}
    return body


@pytest.mark.parametrize("form", ["flat", "data", "kwargs"])
def test_messages_of_langchain_in_their_three_forms(tmp_path, form):
    used = {"type": "tool_use", "id": "t1", "name": "find", "input": ARGS}
    imported = chat(
        tmp_path,
        langchain("system", form, content="Be brief."),
        langchain("human", form, content="When?"),
        langchain("ai", form, name="supervisor", tool_calls=[{"name": "transfer", "args": {}, "id": "c1"}]),
        langchain("tool", form, name="transfer", content="Transferred", tool_call_id="c1"),
        langchain(
            "ai", form, name="archivist", content=[used], tool_calls=[{"name": "find", "args": ARGS, "id": "t1"}]
        ),
        langchain("tool", form, name="find", content="1871", tool_call_id="t1"),
        langchain("ai", form, name="archivist", content="1871"),
    )
    assert players(imported) == ["supervisor", "archivist"]
    assert said(imported)[5:7] == [
        ("archivist", "assistant", "message", BLOCK),
        ("archivist", "tool", "tool_result", "1871"),
    ]
    assert imported.trajectories[0]["answer"] == "1871"
    assert not imported.notes


def test_sharegpt_turns_with_calls_and_observations(tmp_path):
    call = json.dumps({"name": "find", "arguments": ARGS})
    turns = [
        ("system", "Be brief."),
        ("human", "When?"),
        ("function_call", call),
        ("observation", "1871"),
        ("gpt", "1871"),
    ]
    imported = read(save(tmp_path, {"conversations": [{"from": who, "value": text} for who, text in turns]}))
    assert [row[0:3] for row in said(imported)] == [
        ("user", "user", "task"),
        ("assistant", "system", "system"),
        ("assistant", "assistant", "message"),
        ("assistant", "tool", "tool_result"),
        ("assistant", "assistant", "message"),
    ]
    assert said(imported)[2][3] == BLOCK


def test_events_of_autogen(tmp_path):
    events = [
        {"source": "user", "type": "TextMessage", "content": "When?", "models_usage": None},
        {"source": "planner", "type": "ThoughtEvent", "content": "who knows"},
        {"source": "archivist", "type": "ToolCallRequestEvent",
         "content": [{"id": "c1", "name": "find", "arguments": TEXT}]},
        {"source": "archivist", "type": "ToolCallExecutionEvent",
         "content": [{"content": "1871", "name": "find", "call_id": "c1", "is_error": False}]},
        {"source": "archivist", "type": "ModelClientStreamingChunkEvent", "content": "18"},
        {"source": "archivist", "type": "TextMessage", "content": "1871. TERMINATE"},
    ]  # fmt: skip
    imported = read(save(tmp_path, {"messages": events, "stop_reason": "done"}))
    assert said(imported) == [
        ("user", "user", "task", "When?"),
        ("planner", "assistant", "message", "[thinking] who knows"),
        ("archivist", "assistant", "message", BLOCK),
        ("archivist", "tool", "tool_result", "1871"),
        ("archivist", "assistant", "message", "1871. TERMINATE"),
    ]
    assert imported.trajectories[0]["answer"] == "1871."
    assert any("left out: 1 item" in note for note in imported.notes)


def test_items_of_the_agents_sdk_are_named_by_their_handoffs(tmp_path):
    items = [
        {"role": "user", "content": "When?"},
        {"type": "function_call", "call_id": "c1", "name": "transfer_to_archivist", "arguments": "{}", "id": "f1"},
        {"type": "function_call_output", "call_id": "c1", "output": '{"assistant": "archivist"}'},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c2", "name": "find", "arguments": TEXT, "id": "f2"},
        {"type": "function_call_output", "call_id": "c2", "output": "1871"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "1871"}]},
    ]
    imported = read(save(tmp_path, items))
    assert players(imported) == ["assistant", "archivist"]
    assert said(imported)[3:6] == [
        ("archivist", "assistant", "message", "[thinking] hm"),
        ("archivist", "assistant", "message", BLOCK),
        ("archivist", "tool", "tool_result", "1871"),
    ]


@pytest.mark.parametrize(
    "prompt", ["When?", [{"role": "user", "content": "When?"}], json.dumps([{"role": "user", "content": "When?"}])]
)
@pytest.mark.parametrize(
    "completion",
    [
        "1871",
        [{"role": "assistant", "content": "1871"}],
        {"choices": [{"message": {"role": "assistant", "content": "1871"}}]},
    ],
)
def test_a_prompt_and_its_completion_are_one_conversation(tmp_path, prompt, completion):
    imported = read(save(tmp_path, {"prompt": prompt, "completion": completion, "reward": 1.0, "example_id": 7}))
    assert said(imported) == [("user", "user", "task", "When?"), ("assistant", "assistant", "message", "1871")]
    assert any("example_id (1 conversation)" in note for note in imported.notes)


@pytest.mark.parametrize("asked", ["question", "problem", "input"])
@pytest.mark.parametrize("said_under", ["response", "output", "generation"])
def test_a_row_of_results_is_a_conversation_of_two_messages(tmp_path, asked, said_under):
    imported = read(save(tmp_path, {asked: "When?", said_under: "1899", "answer": "1871"}))
    assert [row[3] for row in said(imported)] == ["When?", "1899"]
    assert imported.tasks[0]["references"] == ["1871"]


def test_a_request_and_its_response(tmp_path):
    request = {"model": "m", "system": "Be brief.", "messages": [USER]}
    imported = read(
        save(
            tmp_path,
            {"request": request, "response": {"content": [{"type": "text", "text": "1871"}], "role": "assistant"}},
        )
    )
    assert imported.trajectories[0]["answer"] == "1871"


@pytest.mark.parametrize("key", ["chat_history", "conversation", "history", "trajectory", "transcript"])
def test_the_messages_under_their_other_names(tmp_path, key):
    assert len(read(save(tmp_path, {key: CHAT["messages"]})).messages) == 2


@pytest.mark.parametrize(
    ("value", "likely"),
    [
        ([{"task": "t"}, {"step_number": 1, "model_output": "x", "observations": "y"}], "smolagents"),
        ([{"id": 0, "source": "user", "action": "message", "message": "hi", "args": {}}], "OpenHands"),
        ({"history": [{"role": "A", "content": "x"}], "mistake_agent": "A", "mistake_step": "0"}, "who-and-when"),
        ({"problem": "p", "steps": ["s"], "label": -1}, "process-bench"),
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "preference pair"),
        ({"question": "q", "answer": "a"}, "tasks.path"),
        ({"trajectory": [{"action": "a", "observation": "o", "thought": "t"}]}, "its keys: trajectory"),
        ({"instruction": "Add.", "input": "1 1", "output": "2"}, "its keys: instruction, input, output"),
        ({"a": [{"messages": [USER, REPLY]}], "b": [{"messages": [USER, REPLY]}]}, "more than one conversation"),
        ({"messages": [{"content": "x"}]}, "its keys: messages"),
        ({"messages": [USER, {"content": "x"}]}, "neither a role nor a name; its keys: content"),
        ({"completion": "x", "prompt": ["a", "b"]}, "its keys: completion, prompt"),
    ],
)
def test_a_refusal_names_the_likely_format_and_the_keys(tmp_path, value, likely):
    with pytest.raises(UserError, match=likely) as refusal:
        read(save(tmp_path, value))
    assert (
        "keys: " in str(refusal.value)
        or "import it as" in str(refusal.value)
        or "one record each" in str(refusal.value)
    )


@pytest.mark.parametrize(
    ("name", "agents"),
    [
        ("autogen04_taskresult.json", ["planner", "archivist"]),
        ("inspect_log.json", ["assistant"]),
        ("lc_messages_to_dict.jsonl", ["supervisor", "archivist"]),
        ("lc_model_dump.jsonl", ["supervisor", "archivist"]),
        ("nemo_gym_blackjack.jsonl", ["assistant"]),
        ("openai_agents_input_list.json", ["assistant", "archivist"]),
        ("swe_agent.traj", ["main"]),
        ("openhands.json", None),
        ("smolagents_full_steps.json", None),
    ],
)
def test_logs_of_other_systems_are_read_or_named(name, agents):
    root = Path(os.environ.get("APPORTION_DATA") or Path(__file__).parents[3] / "shared" / "data")
    file = root / "logs" / name
    if not file.is_file():
        pytest.skip(f"no real logs under {root}")
    if agents is None:
        with pytest.raises(UserError, match=r"this looks like .*its keys: "):
            read(file)
    else:
        assert players(read(file)) == agents


def test_keys_that_are_not_read_are_counted_on_one_line(tmp_path):
    imported = chat(tmp_path, {**USER, "id": "m1"}, {**REPLY, "id": "m2", "cost": 3}, model="x", empty=None)
    (note,) = imported.notes
    assert note == "keys that are not read: id (2 messages), cost (1 message), model (1 conversation)"

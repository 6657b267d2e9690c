"""Who is an agent, who only asks, and what is told of their names."""

import pytest
from chat_logs import CHAT, REPLY, USER, chat, players, said, save

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.importers.messages import Messages
from apportion.pipeline.importers.reading.speakers import is_human
from apportion.pipeline.trajectory.people import is_person

read = Messages().read

ASKED, TOLD = "When was the mill built?", "The ledger says 1871."


@pytest.mark.parametrize("key", ["name", "agent", "sender", "source", "speaker"])
def test_the_speaker_stands_under_any_of_the_usual_keys(tmp_path, key):
    turns = [{"role": "assistant", key: name, "content": name} for name in ("planner", "archivist", "planner")]
    imported = chat(tmp_path, USER, *turns)
    assert players(imported) == ["planner", "archivist"]
    assert not imported.notes


def history(*turns):
    return [{"role": role, "name": name, "content": text} for role, name, text in turns]


@pytest.mark.parametrize("asker", ["user_proxy", "User", "human", "UserProxyAgent", "Admin", "Boss"])
@pytest.mark.parametrize("roles", [("assistant", "user"), ("user", "user")])
@pytest.mark.parametrize("key", ["messages", "chat_history"])
def test_the_agents_of_autogen_stand_under_user(tmp_path, asker, roles, key):
    mine, theirs = roles
    turns = history((mine, asker, ASKED), (theirs, "planner", "Archivist, look it up."), (theirs, "archivist", TOLD),
                    (mine, asker, "TERMINATE"))  # fmt: skip
    imported = read(save(tmp_path, {key: turns}))
    assert players(imported) == ["planner", "archivist"]
    assert [row["question"] for row in imported.tasks] == [ASKED]
    assert imported.trajectories[0]["answer"] == TOLD
    assert any("as AutoGen writes them" in note for note in imported.notes)


def test_a_chat_of_autogen_in_which_the_asker_is_an_agent_too(tmp_path):
    turns = history(("assistant", "joe", "Tell me a joke."), ("user", "cathy", "Knock."), ("assistant", "joe", "Who?"))
    imported = read(save(tmp_path, {"chat_history": turns}))
    assert said(imported)[0] == ("user", "user", "task", "Tell me a joke.")
    assert players(imported) == ["cathy", "joe"]


def test_one_agents_view_of_a_group_has_the_others_under_user(tmp_path):
    turns = history(("user", "user_proxy", ASKED), ("assistant", "planner", "Look it up."), ("user", "archivist", TOLD))
    imported = read(save(tmp_path, {"messages": turns}))
    assert players(imported) == ["planner", "archivist"]
    assert any("'archivist' (1 message)" in note for note in imported.notes)


def test_a_question_of_the_record_leaves_the_first_speaker_an_agent(tmp_path):
    turns = history(("user", "planner", "Look it up."), ("user", "archivist", TOLD))
    imported = read(save(tmp_path, {"messages": turns, "question": ASKED}))
    assert [row["question"] for row in imported.tasks] == [ASKED]
    assert players(imported) == ["planner", "archivist"]


def test_people_stay_people(tmp_path):
    alice, bob = ({"role": "user", "name": name, "content": ASKED} for name in ("Alice", "Bob"))
    named = chat(tmp_path, alice, REPLY, {**alice, "content": "Sure?"}, REPLY)
    assert players(named) == ["archivist"]
    nameless = chat(
        tmp_path, USER, {"role": "assistant", "content": "1871"}, bob, {"role": "assistant", "content": "1871"}
    )
    assert players(nameless) == ["assistant"]
    customer = chat(tmp_path, USER, REPLY, {"role": "user", "name": "Customer", "content": "Sure?"}, REPLY)
    assert players(customer) == ["archivist"]


def test_messages_without_roles_are_told_apart_by_their_speakers(tmp_path):
    turns = [("user", ASKED), ("planner", "Look it up."), ("archivist", "1871"), ("user", "")]
    imported = read(save(tmp_path, [{"sender": name, "content": text, "receiver": "all"} for name, text in turns]))
    assert players(imported) == ["planner", "archivist"]
    assert (imported.trajectories[0]["answer"], imported.messages[1]["recipient"]) == ("1871", "all")
    asked = read(save(tmp_path, [{"sender": name, "content": text} for name, text in [("boss", ASKED), *turns[1:3]]]))
    assert players(asked) == ["planner", "archivist"]


@pytest.mark.parametrize(
    ("name", "proxy", "human"),
    [("user_proxy", True, True), ("UserProxyAgent", True, True), ("USER", True, True), ("human input", True, True),
     ("math_user_proxy", False, True), ("customer", True, True), ("Admin", False, True),
     ("customer_service", False, False), ("humanities", False, False), ("planner", False, False),
     ("agent", False, False), ("用户", False, False)],
)  # fmt: skip
def test_names_of_those_who_ask(name, proxy, human):
    assert (is_person(name), is_human(name)) == (proxy, human)


def test_names_are_trimmed_and_those_that_look_alike_are_told(tmp_path):
    names = ["planner", " planner\u00a0", "\u200bplanner", "Planner", "plan ner", "archivist"]
    imported = chat(tmp_path, USER, *({**REPLY, "name": name} for name in names))
    assert players(imported) == ["planner", "Planner", "plan ner", "archivist"]
    (note,) = imported.notes
    assert note.endswith("'planner', 'Planner', 'plan ner'")
    assert not chat(tmp_path, {**USER, "name": "Archivist"}, REPLY).notes, "somebody who asks is no agent"


def test_agents_without_names_are_told_on_one_line(tmp_path):
    bare = {"role": "assistant", "content": "1871"}
    (note,) = read(save(tmp_path, [USER, bare], [USER, bare, {**bare, "name": "  "}], CHAT)).notes
    assert note.startswith("no assistant message has a `name`")
    assert note.endswith(": 2 conversations")
    (some,) = chat(tmp_path, USER, bare, REPLY, bare).notes
    assert some.startswith("assistant messages without a name")
    assert some.endswith(": 2 messages")


def test_the_owner_of_a_log_is_not_the_speaker_of_what_it_was_told(tmp_path):
    turns = [{**USER, "agent": "main"}, {"role": "assistant", "content": "1871", "agent": "main"}]
    assert said(read(save(tmp_path, {"history": turns}))) == [
        ("user", "user", "task", USER["content"]),
        ("main", "assistant", "message", "1871"),
    ]


def test_a_role_that_is_an_agents_name_is_refused_with_the_cure(tmp_path):
    with pytest.raises(UserError, match="role 'planner' is none of .* belongs into `name`"):
        chat(tmp_path, USER, {"role": "planner", "content": "x"})


@pytest.mark.parametrize("other", ["pl\u200banner", "Planner", "pl anner", "\uff50lanner"])
def test_names_that_only_the_machine_tells_apart_are_told(tmp_path, other):
    imported = chat(
        tmp_path,
        USER,
        {"role": "assistant", "name": "planner", "content": "x"},
        {"role": "assistant", "name": other, "content": "1871"},
    )
    assert players(imported) == ["planner", other]
    assert any("differ only in case or spaces" in note for note in imported.notes)

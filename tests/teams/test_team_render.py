"""Messages to chat turns: one rule for sampling and for re-scoring."""

from __future__ import annotations

from scripted import ByteTokenizer

from apportion.pipeline.trajectory.render import chat, encode, prompt_text


def test_own_messages_are_assistant_turns_and_all_others_user_turns_joined():
    turns = chat(
        "amy",
        "Be kind.",
        [("hi", "hello")],
        [
            ("user", "task", "user", "Why?"),
            ("assistant", "message", "bob", "No idea"),
            ("assistant", "message", "amy", "find: why"),
            ("tool", "tool_result", "amy", "because"),
            ("user", "notice", "user", "Answer now."),
        ],
    )
    assert turns == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "Question: Why?\nbob: No idea"},
        {"role": "assistant", "content": "find: why"},
        {"role": "user", "content": "result: because\nAnswer now."},
    ]


def test_an_agent_without_instructions_has_no_system_turn():
    assert chat("amy", "", [], [("user", "task", "user", "Why?")]) == [{"role": "user", "content": "Question: Why?"}]


def test_prompt_is_ready_for_the_next_turn_and_encoded_without_a_second_start_token():
    tokenizer = ByteTokenizer()
    text = prompt_text(tokenizer, [{"role": "user", "content": "ö"}])
    assert text == "<user>ö</user>\n<assistant>"
    assert encode(tokenizer, [text, "a"]) == [tuple(text.encode()), (97,)]
    assert encode(tokenizer, []) == []

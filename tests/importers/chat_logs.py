"""Small chats in the forms of the usual frameworks, and how the tests of importers write and read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from apportion.pipeline.importers.base import Imported
from apportion.pipeline.importers.messages import Messages

read = Messages().read

USER = {"role": "user", "content": "When was the mill built?"}
REPLY = {"role": "assistant", "name": "archivist", "content": "1871"}
CHAT = {"messages": [USER, REPLY], "ground_truth": "1871", "success": True}


def save(folder: Path, *lines: Any, name: str = "chats.jsonl") -> Path:
    """JSON lines; text goes in as it is."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def chat(folder: Path, *messages: Any, **fields: Any) -> Imported:
    """The import of one conversation."""
    return read(save(folder, {"messages": list(messages), **fields}))


def said(imported: Imported) -> list[tuple[Any, ...]]:
    """(agent, role, kind, text) of every row."""
    return [(row["agent"], row["role"], row["kind"], row["text"]) for row in imported.messages]


def players(imported: Imported) -> list[str]:
    """Who has a part in a game: the agents of assistant rows and of tool results."""
    return list(dict.fromkeys(row["agent"] for row in imported.messages if row["role"] in ("assistant", "tool")))

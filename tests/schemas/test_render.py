"""The documentation page cannot drift from the declared tables."""

from __future__ import annotations

from apportion.schemas import TABLES
from apportion.schemas.render import DOC, document


def test_the_page_is_what_the_schemas_render() -> None:
    assert DOC.read_text(encoding="utf-8") == document(), "run `python -m apportion.schemas.render`"


def test_the_page_tells_every_column_with_its_meaning() -> None:
    page = document()
    for table in TABLES.values():
        section = page.split(f"\n## {table.name}\n")[1].split("\n## ")[0]
        for field in table.schema:
            assert any(
                line.startswith(f"| `{field.name}` |") and field.metadata[b"meaning"].decode() in line
                for line in section.splitlines()
            )

"""Write every rendered page."""

from __future__ import annotations

from apportion.schemas import render as tables
from docs.render import configuration, methods, verifiers

if __name__ == "__main__":
    for page in (configuration, methods, verifiers, tables):
        page.DOC.write_text(page.document(), encoding="utf-8")

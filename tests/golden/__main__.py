"""`python -m tests.golden`: play the golden runs and compare them with the golden file.

--write     keep them as the golden file: do so only where rows change on purpose, and say which and why
--rows DIR  write every table as JSON lines: of two commits, `diff -r` shows every value that differs
--record F  write the whole record to a file, as the test does
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden.json"
SHOWN = 60


def main() -> int:
    """Exit 0 where all is as it was, 1 where it is not."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--write", action="store_true", help="keep the runs as the golden file")
    parser.add_argument("--rows", type=Path, metavar="DIR", help="write every table as JSON lines")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the whole record")
    asked = parser.parse_args()
    sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]
    from play import play
    from record import condensed, differences

    with tempfile.TemporaryDirectory(prefix="apportion-golden-") as folder:
        record = play(Path(folder).resolve())
    if asked.rows:
        _write_rows(asked.rows, record)
    if asked.record:
        asked.record.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
        return 0
    if asked.write:
        GOLDEN.write_text(rendered(condensed(record)), encoding="utf-8")
        print(f"{GOLDEN}: {len(record)} steps, {sum(map(len, record.values()))} tables")
        return 0
    found = differences(json.loads(GOLDEN.read_text(encoding="utf-8")), record)
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    print("\n".join([*found[:SHOWN], *more] or ["as it was"]))
    return int(bool(found))


def rendered(golden: dict[str, Any]) -> str:
    """The golden file: a line a column, so that a change is seen where it is made."""
    return json.dumps(golden, indent=1, ensure_ascii=False) + "\n"


def _write_rows(folder: Path, record: dict[str, Any]) -> None:
    for number, (step, tables) in enumerate(record.items()):
        place = folder / f"{number:02d} {step}"
        for name, table in tables.items():
            file = place / f"{name}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
            file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())

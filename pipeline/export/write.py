"""One folder that `datasets.load_dataset`, Polars and DuckDB read, whole or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.export.card import render
from pipeline.export.formats import CONFIGS, SPLITS
from schemas import SCHEMA_VERSION, TABLES

FORMAT = "apportion-export"
MANIFEST = "manifest.json"
_GROUP_ROWS = 8192


def write(
    folder: Path,
    tables: Mapping[str, pa.Table],
    *,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    report: Mapping[str, Any],
    audits: Mapping[str, tuple[str, pa.Table]] | None = None,
) -> dict[str, Any]:
    """Write the data sets of `sets.data_sets` (its `tables` and `report`) as a data set repository; the manifest.

    `folder/<configuration>/<split>.parquet` for what has rows, README.md (front matter and data card), config.json
    (`config`, resolved), manifest.json (files with rows and sha256, schema version, `provenance`: runs, policies and
    what else the caller knows). `audits`: by run, what its audit says in words and its rows, for the card.
    No clock is read, so the same input gives the same bytes with the same library versions.

    The folder is built beside its place and renamed, so a reader sees the old export or the new one. What stands
    there is replaced only if it is an export with nothing added or changed since; else UserError.
    """
    folder = folder.resolve()
    check_place(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = folder.parent / f".{folder.name}.{os.getpid()}.tmp"
    old = folder.parent / f".{folder.name}.{os.getpid()}.old"
    shutil.rmtree(made, ignore_errors=True)
    try:
        made.mkdir()
        manifest = _fill(made, folder.name, tables, config, provenance, report, audits or {})
        if folder.exists():
            folder.rename(old)
        try:
            made.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return manifest


def check_place(folder: Path) -> None:
    """Raise UserError unless an export may be written to `folder`: nothing there, or an untouched export."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    cure = "choose another folder, or move this one away"
    manifest = _manifest(folder)
    if manifest is None:
        raise UserError(f"{folder}: is there and is no export; {cure}")
    known = {file["path"]: file["sha256"] for file in manifest["files"]}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink()):
        name = path.relative_to(folder).as_posix()
        if name != MANIFEST and (name not in known or path.is_symlink() or _sha256(path) != known[name]):
            raise UserError(f"{folder}: {name} was added or changed after the export; {cure}")


def _manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of an export; None where the folder is none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("format") == FORMAT else None


def _fill(
    folder: Path,
    title: str,
    tables: Mapping[str, pa.Table],
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    report: Mapping[str, Any],
    audits: Mapping[str, tuple[str, pa.Table]],
) -> dict[str, Any]:
    """Write everything into an empty folder, the manifest last."""
    created_by = f"apportion {version('apportion')}"
    paths: dict[str, dict[str, str]] = {}
    files: list[dict[str, Any]] = []
    for name, declared in CONFIGS.items():
        data = declared.conform(tables[name]) if name in tables else declared.empty()
        for split in SPLITS:
            part = data.filter(pc.equal(data["split"], split))
            if not part.num_rows:
                continue
            path = f"{name}/{split}.parquet"
            (folder / name).mkdir(exist_ok=True)
            pq.write_table(part, folder / path, compression="zstd", row_group_size=_GROUP_ROWS)
            paths.setdefault(name, {})[split] = path
            files.append({"path": path, "config": name, "split": split, "rows": part.num_rows})
    told = {run: (words, TABLES["audit"].conform(rows).to_pylist()) for run, (words, rows) in audits.items()}
    card = render(title, paths, report, created_by=created_by, audits=told)
    (folder / "README.md").write_text(card, encoding="utf-8")
    _write_json(folder / "config.json", config)
    files += [{"path": "README.md"}, {"path": "config.json"}]
    manifest = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "created_by": created_by,
        "files": [
            {**file, "bytes": (folder / file["path"]).stat().st_size, "sha256": _sha256(folder / file["path"])}
            for file in files
        ],
        "provenance": dict(provenance),
        "report": dict(report),
    }
    _write_json(folder / MANIFEST, manifest)
    return manifest


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

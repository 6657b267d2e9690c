"""One folder that `datasets.load_dataset`, Polars and DuckDB read, whole or not there at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.places import hold, listed, put, put_beside
from apportion.pipeline.datasets.card import render
from apportion.pipeline.datasets.formats import CONFIGS, SPLITS
from apportion.schemas import SCHEMA_VERSION, TABLES

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
    there is replaced only if it is an export with nothing added or changed since, also while the new one was written;
    else UserError. One process writes there at a time. A process killed between the two renames leaves the old
    export under a hidden name, from which the next one brings it back.
    """
    folder = folder.resolve()
    with hold(folder):
        _recover(folder)
        check_place(folder)
        made = _hidden(folder, "new")
        shutil.rmtree(made, ignore_errors=True)
        try:
            made.mkdir()
            manifest = _fill(made, folder.name, tables, config, provenance, report, audits or {})
            _swap(made, folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return manifest


def ready(folder: Path) -> None:
    """Bring back an export that a killed process left under a hidden name, then `check_place`."""
    folder = folder.resolve()
    if _hidden(folder, "old").exists():
        with hold(folder):
            _recover(folder)
    check_place(folder)


def check_place(folder: Path) -> None:
    """Raise UserError unless an export may be written to `folder`: nothing there, or an untouched export."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    cure = "choose another folder, or move this one away"
    manifest = _manifest(folder)
    if manifest is None:
        raise UserError(f"{folder}: is there and is no export; {cure}")
    if foreign := _foreign(folder, manifest):
        raise UserError(f"{folder}: {foreign} was added or changed after the export; {cure}")


def _swap(made: Path, folder: Path) -> None:
    """Put the new export in the place of the old one, unless something in there is not the export's by now."""
    check_place(folder)
    if put(made, folder):
        return
    old = _hidden(folder, "old")
    folder.rename(old)
    manifest = _manifest(old)
    if manifest is None or _foreign(old, manifest) or not put(made, folder):
        if folder.exists():  # made by somebody else in this very moment
            old = _shown(old, folder)
            raise UserError(f"{folder}: appeared while the export was written; the export before is {old}")
        old.rename(folder)
        check_place(folder)
        raise UserError(f"{folder}: was changed while the export was written; give the command again")
    if left := _discard(old):
        raise UserError(
            f"{folder}: {left} was added while the export was replaced; it is kept in {_shown(old, folder)}"
        )


def _recover(folder: Path) -> None:
    """After a process that was killed between two renames: its old export is there again, or gone if the new one is."""
    old = _hidden(folder, "old")
    if not old.exists():
        return
    if not folder.exists():
        old.rename(folder)
    elif left := _discard(old):
        raise UserError(f"{folder}: an earlier export holds {left}, which is no part of it; see {_shown(old, folder)}")


def _discard(old: Path) -> str:
    """Delete an export that has been replaced, file by file; the name of what is none of its own, and stays."""
    manifest = _manifest(old)
    if manifest is None or (left := _foreign(old, manifest)):
        return left if manifest else listed(old)
    for name in (*(file["path"] for file in manifest["files"]), MANIFEST):
        (old / name).unlink(missing_ok=True)
    try:
        for path in sorted((path for path in old.rglob("*") if path.is_dir()), reverse=True):
            path.rmdir()
        old.rmdir()
    except OSError:  # something came in this very moment
        return listed(old)
    return ""


def _hidden(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{FORMAT}-{what}")


def _shown(old: Path, folder: Path) -> Path:
    """A hidden folder under a name that its owner sees."""
    return put_beside(old, folder)


def _foreign(folder: Path, manifest: Mapping[str, Any]) -> str:
    """The first file of an export's folder that is not as the export wrote it; or nothing."""
    known = {file["path"]: file["sha256"] for file in manifest["files"]}
    for path in sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()):
        name = path.relative_to(folder).as_posix()
        plain = path.is_file() and not path.is_symlink()
        if not plain or (name != MANIFEST and (name not in known or _sha256(path) != known[name])):
            return name
    return ""


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

"""Places that a user names for output: one writer at a time, and nothing that is not ours is overwritten or deleted."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TextIO

from apportion.pipeline.core.errors import UserError

_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


@contextmanager
def hold(target: Path) -> Iterator[None]:
    """Hold a place for writing, by a lock file beside it; UserError where another process does.

    The kernel frees the lock on any death of its holder, so a lock file that is left over holds nobody up.
    """
    path = target.parent / f".{target.name}.lock"
    target.parent.mkdir(parents=True, exist_ok=True)
    file = _locked(path, target)
    try:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _locked(path: Path, target: Path) -> TextIO:
    """The lock file, open and locked. It is tried again where its last holder has just taken it away."""
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise UserError(
                f"{target}: process {holder} is writing there: wait for it, or choose another place"
            ) from None
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()


def put(made: Path, target: Path) -> bool:
    """Rename a finished file or folder to `target`; False, with nothing changed, where something is there by now.

    An empty file is nothing, and so is a folder of empty folders.
    """
    try:
        if made.is_dir():
            _clear(target)
            made.rename(target)  # the kernel refuses a folder that is not empty
        else:
            with contextlib.suppress(FileNotFoundError):
                if target.stat().st_size == 0:
                    target.unlink()
            target.touch(exist_ok=False)
            os.replace(made, target)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def _clear(folder: Path) -> None:
    """Remove the empty folders of a folder that holds nothing else."""
    inside = sorted(folder.rglob("*"), reverse=True) if folder.is_dir() else []
    if all(path.is_dir() and not path.is_symlink() for path in inside):
        for path in inside:
            path.rmdir()


def put_beside(made: Path, target: Path) -> Path:
    """Rename a finished file or folder to the first free name of `target-2`, `target-3`, ...; that name."""
    names = (target.with_name(f"{target.stem}-{number}{target.suffix}") for number in count(2))
    return next(name for name in names if not name.exists() and put(made, name))


def listed(folder: Path) -> str:
    """The first entries of a folder, for a message; of a file its own name."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else [folder.name]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

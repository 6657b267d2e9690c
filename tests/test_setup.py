"""`make`: which Python it takes, what it says when there is none, and that a set-up survives kills, moves and names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CURE = "name one: make PYTHON=/path/to/python3.11"
TOOLS = ("bash", "cat", "cksum", "cp", "dirname", "find", "flock", "grep", "make", "mkdir", "mv", "rm", "sh", "touch")
NAMES = ("plain", "two words", 'it\'s "quoted"', "ünï 漢字", "$HOME `x` #1 %41")

STUB = r"""#!/bin/sh
# A Python of another version, whose venvs hold this same script and whose pip notes what it is asked to install.
case "$1 $2" in
  -c*) exec "{real}" -c "import sys; sys.version_info = {version}; {before}
$2" ;;
  "-m venv")
    for venv do :; done
    [ "$3" = --without-pip ] && exit 0
    mkdir -p "$venv/bin" "$venv/lib/python3.11/site-packages"
    cp "$0" "$venv/bin/python" ;;
  "-m pip")
    [ "$3" = --version ] && exit 0
    echo "$*" >> installed
    [ ! -e die-now ] || {{ rm die-now; kill -9 $PPID; }} ;;
  *) exec "{real}" "$@" ;;
esac
"""


@dataclass
class Checkout:
    """A folder with what `make setup` needs, and a PATH of our own making."""

    folder: Path
    bin: Path

    def python(self, name: str, version: tuple[int, int, int], before: str = "") -> Path:
        """Put a Python of this version on the PATH, or at a path."""
        file = self.bin / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(STUB.format(real=sys.executable, version=(*version, "final", 0), before=before))
        file.chmod(0o755)
        return file

    def make(self, *arguments: str) -> tuple[int, str]:
        """`make setup`: its exit code and what it said, less make's own line."""
        # What a `make test` around this leaves for a `make` inside it would make that one say where it is.
        inherited = ("PYTHON", "MAKE", "MFLAGS", "GNUMAKEFLAGS")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(inherited)}
        done = subprocess.run(
            ["make", "setup", "KIND=tiny", *arguments],
            cwd=self.folder, env={**environment, "PATH": str(self.bin)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        lines = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("make: ***")]
        return done.returncode, "\n".join(lines)

    def installed(self) -> list[str]:
        """What pip was asked for since the last call: `link` for the project itself, else the requirement."""
        file = self.folder / "installed"
        asked = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return ["link" if "--editable" in line else line.split()[-1] for line in asked]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return checkout_at(tmp_path, "checkout")


def checkout_at(tmp_path: Path, name: str) -> Checkout:
    folder, tools = tmp_path / name, tmp_path / "bin"
    (folder / "requirements").mkdir(parents=True)
    for file in ("Makefile", "pyproject.toml", "requirements/install.sh", "requirements/relocatable.py"):
        shutil.copy(ROOT / file, folder / file)
    (folder / "requirements/tiny.lock").write_text("torch==1\nother==2\n")
    tools.mkdir(exist_ok=True)
    for tool in TOOLS:
        where = shutil.which(tool)
        if where and not (tools / tool).exists():
            (tools / tool).symlink_to(where)
    return Checkout(folder, tools)


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 10, 13), (3, 12, 1), (3, 13, 0), (3, 14, 0)])
def test_another_python_is_refused_in_one_line_before_anything_is_made(
    checkout: Checkout, version: tuple[int, int, int]
):
    checkout.python("python3", version)
    told = ".".join(map(str, version))
    assert checkout.make() == (2, f"apportion: it needs Python 3.11, and python3 is Python {told}; {CURE}")
    assert not (checkout.folder / ".venv").exists()


def test_no_python_at_all(checkout: Checkout):
    assert checkout.make() == (2, f"apportion: it needs Python 3.11, and python3 does not run; {CURE}")


def test_a_python_without_ensurepip_names_its_package(checkout: Checkout):
    checkout.python("python3", (3, 11, 2), "sys.modules['ensurepip'] = None")
    code, line = checkout.make()
    assert code == 2
    assert line.startswith("apportion: python3 has no venv module to set up with; install it (")
    assert "apt install python3.11-venv" in line
    assert not (checkout.folder / ".venv").exists()


def test_another_python_on_the_path_is_found(checkout: Checkout):
    checkout.python("python3", (3, 13, 0))
    checkout.python("python3.11", (3, 11, 9))
    code, said = checkout.make()
    assert (code, checkout.installed()) == (0, ["torch==1", ".venv/.rest.txt", "link"])
    assert said == "Setting up .venv for tiny from requirements/tiny.lock (once, a few minutes) ..."
    assert checkout.make() == (0, "")
    assert checkout.installed() == []


def test_the_named_python_is_taken_and_no_other(checkout: Checkout):
    checkout.python("python3.11", (3, 11, 9))
    named = checkout.python("my python's/bin/python", (3, 10, 1))
    assert checkout.make(f"PYTHON={named}") == (
        2,
        f"apportion: it needs Python 3.11, and {named} is Python 3.10.1; {CURE}",
    )
    named = checkout.python("my python's/bin/python", (3, 11, 1))
    assert checkout.make(f"PYTHON={named}")[0] == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_may_have_any_name_and_may_be_moved(tmp_path: Path, name: str):
    checkout = checkout_at(tmp_path, f"{name}/here")
    checkout.python("python3", (3, 11, 9))
    assert checkout.make()[0] == 0
    checkout.installed()
    moved = checkout_at(tmp_path, "elsewhere")
    shutil.rmtree(moved.folder)
    checkout.folder.rename(moved.folder)
    assert moved.make() == (0, f"Linking .venv to {moved.folder} ...")
    assert moved.installed() == ["link"]
    assert moved.make() == (0, "")


def test_commands_find_the_python_beside_them(tmp_path: Path):
    folder = tmp_path / 'it\'s a "folder" $HOME'
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    absolute = "#!/gone/.venv/bin/python3.11\nimport sys\nprint(sys.argv[1:])\n"
    spaced = "#!/bin/sh\n'''exec' \"/a gone/bin/python\" \"$0\" \"$@\"\n' '''\nimport sys\nprint(sys.argv[1:])\n"
    for name, text in {"absolute": absolute, "spaced": spaced, "activate": "# of the shell\n"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    subprocess.run([sys.executable, ROOT / "requirements/relocatable.py", folder], check=True)
    (tmp_path / "link").symlink_to(folder / "absolute")
    for file in (folder / "absolute", folder / "spaced", tmp_path / "link"):
        assert subprocess.run([file, "a b"], capture_output=True, text=True, check=True).stdout == "['a b']\n"
    assert (folder / "activate").read_text() == "# of the shell\n"


def test_a_set_up_killed_in_the_middle_is_made_anew(checkout: Checkout):
    checkout.python("python3", (3, 11, 9))
    (checkout.folder / "die-now").touch()
    assert checkout.make()[0] != 0
    assert checkout.installed() == ["torch==1"]
    half = checkout.folder / ".venv/lib/half-installed"
    half.touch()
    assert checkout.make()[0] == 0
    assert checkout.installed() == ["torch==1", ".venv/.rest.txt", "link"]
    assert not half.exists()
    assert checkout.make() == (0, "")


def test_other_packages_are_installed_when_the_lock_says_so(checkout: Checkout):
    checkout.python("python3", (3, 11, 9))
    checkout.make()
    checkout.installed()
    (checkout.folder / "requirements/tiny.lock").write_text("other==3\n")
    assert checkout.make()[0] == 0
    assert checkout.installed() == [".venv/.rest.txt", "link"]


def test_an_environment_that_is_not_ours_is_left_alone(checkout: Checkout):
    checkout.python("python3", (3, 11, 9))
    theirs = checkout.folder / ".venv/bin/python"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("#!/bin/sh\nexit 1\n")
    code, line = checkout.make()
    assert code == 2
    assert line.startswith("apportion: .venv is not an environment of Python 3.11 with pip; remove it, or ")
    assert theirs.exists()

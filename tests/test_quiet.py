"""What the screen shows is ours alone: no bar, banner or warning of a library, from any verb, wherever it is called."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from small_checkpoint import write_checkpoint

from apportion.pipeline.engines.checkpoints import without_pattern

ROOT = Path(__file__).parent.parent
FOREIGN = re.compile(r"it/s|%\||[Ww]arn|INFO|DEBUG|ERROR|Traceback|resource_tracker|[Pp]refect|torch|vllm|\.py:\d")
"""What bars, logs and warnings of libraries have in them."""
SAID = [{"role": "user", "content": "Why?"}, {"role": "assistant", "name": "sky", "content": "rain"}]


def python(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, in `folder`, with the environment of somebody who set nothing."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        cwd=folder, env={**kept, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def apportion(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """A verb as its own process: exit code, standard output, standard error."""
    done = python("from apportion.cli.app import main; main()", folder, *arguments)
    return done.returncode, done.stdout, done.stderr


def test_bars_of_other_libraries_are_off(tmp_path: Path):
    code = (
        "from pathlib import Path; "
        "from apportion.pipeline.core.libraries import hush; hush(Path('data'))\n"
        "from tqdm import tqdm, trange; from tqdm.auto import tqdm as auto\n"
        "list(tqdm(range(3))), list(auto(range(3))), list(trange(3))"
    )
    done = python(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_prefect_says_nothing_of_a_data_folder_that_is_not_there_yet(tmp_path: Path):
    code = (
        "from pathlib import Path; "
        "from apportion.pipeline.core.libraries import hush; hush(Path('new/data')); import apportion.flows.common"
    )
    done = python(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_silence_swallows_native_output_too_and_lets_errors_through(tmp_path: Path):
    code = (
        "import os, sys; from apportion.pipeline.core.libraries import silent\n"
        "print('before')\n"
        "try:\n"
        "    with silent():\n"
        "        os.write(1, b'native'); print('python', file=sys.stderr); print('python'); raise ValueError('seen')\n"
        "except ValueError as error:\n"
        "    print(error)"
    )
    done = python(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "before\nseen\n", "")


def test_our_processes_run_our_code_in_a_folder_that_has_an_apportion_of_its_own(tmp_path: Path):
    (tmp_path / "apportion").mkdir()
    (tmp_path / "apportion/__init__.py").write_text("raise SystemExit('not ours')\n")
    code = (
        "import subprocess, sys; from pathlib import Path; "
        "from apportion.pipeline.core.libraries import hush; hush(Path('data'))\n"
        "for how in (['-c', 'import apportion.pipeline.core.ids'], ['-m', 'apportion.pipeline.core.errors']):\n"
        "    subprocess.run([sys.executable, *how], check=True)"
    )
    done = python(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_verbs_print_our_lines_only_in_a_folder_of_any_name(tmp_path: Path):
    folder = tmp_path / 'two words, it\'s "quoted" ünï #1 %41 [x] *?'
    (folder / "model").mkdir(parents=True)
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / "model" / file).write_text("{}")
    (folder / "chat.jsonl").write_text(json.dumps({"messages": SAID, "answer": "rain"}))
    code, out, err = apportion(folder, "import", "messages", "chat.jsonl", "--set", "run.name=logs")
    assert (code, out) == (0, "")
    assert [line.split()[0] for line in err.splitlines()] == ["run", "next:"]
    model = ["--set", "model.path=model", "--set", "annotate.on=none"]
    code, out, err = apportion(folder, "annotate", "--run", "logs", *model)
    assert code == 0, err
    assert not FOREIGN.search(out + err)
    code, out, err = apportion(folder, "runs", "verify")
    assert (code, out) == (0, "")
    assert err.startswith("logs: whole (")
    assert sorted(path.name for path in folder.iterdir()) == ["chat.jsonl", "data", "model"]


def test_a_folder_whose_name_is_a_pattern_gets_a_plain_name(tmp_path: Path):
    odd, plain = tmp_path / "runs [2]", tmp_path / "it's a run"
    for folder in (odd, plain):
        folder.mkdir()
        (folder / "config.json").touch()
    link = without_pattern(odd)
    assert without_pattern(plain) == plain
    assert not set("[*?") & set(str(link))
    assert link.resolve() == odd.resolve()
    assert without_pattern(odd) == link


def test_a_team_of_ones_own_is_found_beside_its_toml(tmp_path: Path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "chorus.py").write_text(
        "class Chorus:\n    name, answerer = 'chorus', 'outcome'\n\n    def play(self, talk):\n        yield []\n"
    )
    (project / "run.toml").write_text(
        '[tasks]\npath = "tasks.jsonl"\n[model]\npath = "model"\n[team]\ntopology = "chorus:Chorus"\n'
        '[[team.agents]]\nname = "a"\nrole = "voice"\n'
    )
    (project / "tasks.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n')
    write_checkpoint(project / "model")
    (tmp_path / "cwd").mkdir()
    code, out, err = apportion(tmp_path / "cwd", "sample", "--config", "../project/run.toml", "--dry-run")
    assert (code, out) == (0, ""), err
    assert ": 1 tasks, " in err

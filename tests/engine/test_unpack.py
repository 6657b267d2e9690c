"""The embedded model as it is unpacked at its first use, where `make demo` shows nothing but a line of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine


def test_the_model_is_unpacked_with_one_line_and_no_bar(tmp_path: Path):
    code = (
        "from pathlib import Path; from apportion.pipeline.core.libraries import hush; hush(Path('data'))\n"
        "from apportion.pipeline.engines.checkpoints import resolve_model\n"
        "for _ in range(2): resolve_model('smollm2', data_root=Path('data'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == "unpacking the model into data/models/SmolLM2-135M-Instruct (once) ...\n"
    assert (tmp_path / "data/models/SmolLM2-135M-Instruct/model.safetensors").is_file()

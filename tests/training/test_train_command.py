"""The command that `fin train` prints at its end evaluates the adapter as it is."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fin_plugins.training.train_command import command
from tests.conftest import result_file
from tests.training.tiny_runs import SMALL

pytestmark = pytest.mark.usefixtures("sample_data", "one_thread")


@pytest.mark.parametrize("template", ["base", pytest.param("llama3", marks=pytest.mark.prove)])
def test_the_printed_command_runs_as_it_is_printed(template, tiny_models, tmp_path, monkeypatch):
    import json

    monkeypatch.chdir(tmp_path)
    Path("demo.yaml").write_text(json.dumps({**SMALL, "model": str(tiny_models[template]), "max_steps": 1}))
    done = CliRunner().invoke(command, ["demo.yaml", "--out", "an adapter/fomc"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (printed,) = [line.removeprefix("next: ") for line in done.output.splitlines() if line.startswith("next: ")]
    words = shlex.split(printed)
    assert words[:3] == ["FIN_DATA=sample", "fin", "eval"] and "--log_samples" in words
    assert ("--apply_chat_template" in words) == (template != "base")
    assert words[words.index("--adapter") + 1] == "fomc=an adapter/fomc"
    if template == "base":
        return
    tools = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    tools.pop("FIN_DATA")
    ran = subprocess.run(printed, shell=True, env=tools, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert list(Path("results").rglob("samples_fin_fomc_*.jsonl"))
    (scored,) = [file for file in Path("results").iterdir() if file.name.endswith("fomc")]
    assert result_file(scored)["results"]["fin_fomc"]["acc,none"] >= 0

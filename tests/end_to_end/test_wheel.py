"""Build the wheel, install it into a clean environment, type the card's command, uninstall, find nothing left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.end_to_end.checks import VLLM_ARGUMENTS, check_run, lm_eval

UV = str(Path(sys.executable).parent / "uv")


def uv(*arguments: str) -> None:
    done = subprocess.run([UV, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def listing(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if "__pycache__" not in file.parts}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the pinned stack, and without this package; site-packages' path."""
    folder = tmp_path_factory.mktemp("clean")
    uv("venv", "--quiet", "--python", sys.executable, str(folder))
    # The very packages of .venv, linked file by file: no download, no index needed, and none of our own files.
    site = next((folder / "lib").glob("python3*")) / "site-packages"
    ours = next(Path(sys.prefix, "lib").glob("python3*")) / "site-packages"
    mine = ("fin_plugins", "_fin_plugins", "__editable__", "_virtualenv", "_distutils")
    for entry in ours.iterdir():
        if not entry.name.startswith(mine):
            subprocess.run(["cp", "-rl", str(entry), str(site)], check=True)
    script = (Path(sys.prefix) / "bin" / "lm_eval").read_text().splitlines()
    target = folder / "bin" / "lm_eval"
    target.write_text("\n".join([f"#!{folder}/bin/python", *script[1:]]) + "\n")
    target.chmod(0o755)
    return site


def test_wheel_in_a_clean_environment(clean: Path, tmp_path: Path, demo_model_path: Path) -> None:
    env, before = clean.parents[2], listing(clean)
    python = str(env / "bin" / "python")
    uv("build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    uv("pip", "install", "--quiet", "--python", python, "--no-deps", str(wheel))
    printed = lm_eval(
        *("--tasks", "fin_unseen", "--model", "vllm", "--limit", "3", "--batch_size", "auto"),
        *("--model_args", f"pretrained={demo_model_path},{VLLM_ARGUMENTS}", "--apply_chat_template"),
        *("--output_path", str(tmp_path / "out"), "--log_samples"),
        bin_folder=env / "bin",
        FIN_DATA="sample",
        PYTHONPATH="",
    )
    results = check_run(tmp_path / "out", printed, ["fin_argument", "fin_deal", "fin_causal"], "sample")
    assert str(clean) in results["configs"]["fin_deal"]["metadata"]["config_source"]
    assert subprocess.check_output([str(env / "bin" / "fin"), "path"], text=True).strip().startswith(str(clean))

    uv("pip", "uninstall", "--quiet", "--python", python, "fin-plugins")
    assert listing(clean) - before == set()
    missing = "from lm_eval.tasks import TaskManager as T; print([n for n in T().all_tasks if n.startswith('fin_')])"
    left = subprocess.check_output([python, "-c", missing], text=True, env={**os.environ, "PYTHONPATH": ""})
    assert left == "[]\n"

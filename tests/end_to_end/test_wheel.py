"""Build the wheel, install it into a clean environment, run `lm_eval` there and uninstall it without residue."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fin_plugins.demo import engine_arguments
from tests.conftest import ROOT
from tests.end_to_end.checks import check_run, lm_eval

UV = str(Path(sys.executable).parent / "uv")


def uv(*arguments: str) -> None:
    process = subprocess.run([UV, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 0, process.stderr


def list_files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if "__pycache__" not in file.parts}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Site-packages folder of an environment that has the pinned stack but not this package."""
    folder = tmp_path_factory.mktemp("clean")
    uv("venv", "--quiet", "--python", sys.executable, str(folder))
    # Hard links to the packages of .venv, except this package: needs no download and no package index.
    site = next((folder / "lib").glob("python3*")) / "site-packages"
    current_site = next(Path(sys.prefix, "lib").glob("python3*")) / "site-packages"
    excluded = ("fin_plugins", "_fin_plugins", "_virtualenv")
    for entry in current_site.iterdir():
        if not entry.name.startswith(excluded):
            subprocess.run(["cp", "-rl", str(entry), str(site)], check=True)
    script = (Path(sys.prefix) / "bin" / "lm_eval").read_text().splitlines()
    target = folder / "bin" / "lm_eval"
    target.write_text("\n".join([f"#!{folder}/bin/python", *script[1:]]) + "\n")
    target.chmod(0o755)
    return site


def test_wheel_in_a_clean_environment(clean: Path, tmp_path: Path, demo_model_path: Path) -> None:
    env, before = clean.parents[2], list_files(clean)
    python = str(env / "bin" / "python")
    uv("build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    uv("pip", "install", "--quiet", "--python", python, "--no-deps", str(wheel))
    printed = lm_eval(
        *("--tasks", "fin_unseen", "--model", "hf", "--limit", "2", "--batch_size", "4", "--device", "cpu"),
        *("--model_args", f"pretrained={demo_model_path},{engine_arguments('hf')}", "--apply_chat_template"),
        *("--output_path", str(tmp_path / "out"), "--log_samples"),
        bin_folder=env / "bin",
        FIN_DATA="sample",
        PYTHONPATH="",
    )
    results = check_run(tmp_path / "out", printed, ["fin_argument", "fin_deal", "fin_causal"], "sample")
    assert str(clean) in results["configs"]["fin_deal"]["metadata"]["config_source"]
    assert subprocess.check_output([str(env / "bin" / "fin"), "path"], text=True).strip().startswith(str(clean))

    uv("pip", "uninstall", "--quiet", "--python", python, "fin-plugins")
    assert list_files(clean) - before == set()
    list_tasks = "from lm_eval.tasks import TaskManager as T; print([n for n in T().all_tasks if n.startswith('fin_')])"
    tasks = subprocess.check_output([python, "-c", list_tasks], text=True, env={**os.environ, "PYTHONPATH": ""})
    assert tasks == "[]\n"


@pytest.mark.prove
def test_with_lm_eval_itself_installed_editable(clean: Path, tmp_path: Path) -> None:
    env = clean.parents[2]
    python = str(env / "bin" / "python")
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "lm_eval"]
    subprocess.run([*download, "lm_eval==0.4.13"], check=True, cwd=tmp_path)
    subprocess.run(["tar", "xzf", "lm_eval-0.4.13.tar.gz"], check=True, cwd=tmp_path)
    uv("pip", "uninstall", "--quiet", "--python", python, "lm_eval")
    uv("pip", "install", "--quiet", "--python", python, "--no-deps", "-e", str(tmp_path / "lm_eval-0.4.13"))
    options = ["--no-deps", "--no-build-isolation-package", "fin-plugins"]
    uv("pip", "install", "--quiet", "--python", python, *options, str(ROOT))
    path = subprocess.check_output([python, "-c", "import lm_eval; print(lm_eval.__file__)"], text=True, cwd="/")
    assert path.startswith(str(tmp_path))
    printed = lm_eval("validate", "--tasks", "fin,fin_fomc_gen", bin_folder=env / "bin", PYTHONPATH="")
    assert "All tasks found and valid" in printed
    module = [python, "-m", "lm_eval", "validate", "--tasks", "fin"]
    assert "All tasks found and valid" in subprocess.check_output(module, text=True, stderr=subprocess.STDOUT, cwd="/")

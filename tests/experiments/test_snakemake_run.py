"""Plans of small real programs, run by Snakemake."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from fin_plugins.common import file_lock
from fin_plugins.common.errors import FinError
from fin_plugins.experiments.experiment_config import Resources
from fin_plugins.experiments.machine_limits import Limits
from fin_plugins.experiments.run_record import format_failures, markdown_table, summarize_run, text_table
from fin_plugins.experiments.snakemake_run import profile_folder, run_plan
from fin_plugins.experiments.step_plan import Plan
from tests.experiments.plan_factories import DIAMOND_RESULT, KEY, chain, complete, completed_steps, diamond, step

LIMITS = Limits(2, 4, ())
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def test_order_is_kept_and_nothing_runs_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = diamond(tmp_path / "ein Ordner, ö, {1} und $2")
    assert run_plan(plan, limits=LIMITS).failed == {}
    ran = completed_steps(plan.work)
    assert (ran[0], ran[-1], len(ran)) == ("first", "last", 4)
    assert (plan.work / "made/last").read_text() == DIAMOND_RESULT
    assert any("[4/4] last done in " in line for line in capsys.readouterr().err.splitlines())

    (plan.work / "made/first").touch()  # newer than everything that depends on it
    (plan.work / f"done/first-{KEY}.json").touch()
    assert run_plan(plan, limits=LIMITS).failed == {} and len(completed_steps(plan.work)) == 4

    (plan.work / "made/left").unlink()  # only this step and what depends on it run again
    leftovers = [plan.work / f"{folder}/.x.json.0123456789ab.part" for folder in (".", "done", "running")]
    for file in leftovers:
        file.touch()
    assert run_plan(plan, limits=LIMITS).failed == {}
    assert not any(file.exists() for file in leftovers)
    assert completed_steps(plan.work)[4:] == ["left", "last"]

    summary = summarize_run(plan)
    assert (summary["steps"], summary["open"], summary["kinds"]["train"]["steps"]) == (4, 0, 4)
    assert markdown_table(summary).count("\n") == 4 and "peak memory" in text_table(summary)


def test_steps_run_in_parallel_within_cores_and_memory(tmp_path: Path) -> None:
    # Each step writes when it began and ended; the large one needs more memory than there is, and runs alone.
    code = """
import pathlib, sys, time
began = time.time()
time.sleep(1.5)
pathlib.Path(sys.argv[1]).parent.mkdir(exist_ok=True)
pathlib.Path(sys.argv[1]).write_text(f"{began} {time.time()}")
"""
    large = step("large", code=code, resources=Resources(cores=1, memory_gb=64))
    plan = Plan("demo", tmp_path, (*(step(name, code=code) for name in "abc"), large))
    assert run_plan(plan, limits=LIMITS).failed == {}
    times = {file.name: tuple(map(float, file.read_text().split())) for file in (tmp_path / "made").iterdir()}
    parallel = [sum(began <= moment < ended for began, ended in times.values()) for moment, _ in times.values()]
    assert len(times) == 4 and max(parallel) == 2
    began, ended = times.pop("large")
    assert all(other_ended <= began or other_began >= ended for other_began, other_ended in times.values())


def test_steps_that_do_not_need_a_failed_one_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, left, right, last = diamond(tmp_path).steps
    failing = replace(left, command=step("left", code="print('the model is gone'); raise SystemExit(1)").command)
    plan = Plan("demo", tmp_path, (first, failing, right, last))
    outcome = run_plan(plan, limits=LIMITS)
    assert list(outcome.failed) == ["left"] and "exit status 1" in outcome.failed["left"]
    assert outcome.skipped == ("last",)
    assert sorted(completed_steps(tmp_path)) == ["first", "right"]
    text = format_failures(plan, outcome)
    assert "the model is gone" in text and str(tmp_path / failing.log) in text and ": last" in text
    assert "left FAILED after" in capsys.readouterr().err

    assert run_plan(diamond(tmp_path), limits=LIMITS).failed == {}  # the same call resumes
    assert sorted(completed_steps(tmp_path)) == ["first", "last", "left", "right"]


def test_a_second_run_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with (
        file_lock.exclusive(tmp_path, "fin run"),
        pytest.raises(FinError, match=r"another `fin run`"),
    ):
        run_plan(chain(tmp_path), limits=LIMITS)
    with file_lock.exclusive(tmp_path, "fin run"):
        pass  # nothing is left to clean up


def test_an_error_of_snakemake_itself_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FinError, match="--no-such-flag"):
        run_plan(chain(tmp_path), limits=LIMITS, extra_arguments=["--no-such-flag"])


def test_profiles_by_name_and_folder(tmp_path: Path) -> None:
    for name in ("slurm", "kubernetes"):
        assert (profile_folder(name) / "config.yaml").is_file()
    (tmp_path / "config.yaml").write_text("jobs: 3\n")
    assert profile_folder(str(tmp_path)) == tmp_path
    with pytest.raises(FinError, match=r"--profile slrum: .*kubernetes, slurm"):
        profile_folder("slrum")


def test_a_complete_plan_starts_nothing_and_signal_handlers_are_restored(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    plan = chain(tmp_path)
    complete(plan)
    assert run_plan(plan, limits=LIMITS).failed == {}
    assert not (tmp_path / "plan.json").exists()
    (tmp_path / "made/last").unlink()
    run_plan(plan, limits=LIMITS)
    assert [signal.getsignal(number) for number in SIGNALS] == before

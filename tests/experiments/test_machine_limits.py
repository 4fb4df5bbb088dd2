"""Limits of this machine, and GPUs that several steps share."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.experiments.experiment_config import Resources
from fin_plugins.experiments.machine_limits import (
    GPUS_VARIABLE,
    Limits,
    check_fit,
    list_gpus,
    machine_limits,
    reserve_gpus,
)
from fin_plugins.experiments.step_plan import Plan
from fin_plugins.experiments.step_runner import run_step
from tests.experiments.plan_factories import step


def test_limits_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert machine_limits(None, None, 1).gpus == ("4",) and machine_limits(3, 5, None) == Limits(3, 5, ("4", "7"))
    with pytest.raises(FinError, match=r"--gpus 3: .* 2 "):
        machine_limits(None, None, 3)


def test_steps_that_do_not_fit() -> None:
    two_gpus = replace(step("two_gpus"), resources=Resources(gpus=2))
    with pytest.raises(FinError, match=r"two_gpus: .* 2 GPUs.* 0 .*resources.train.gpus=0"):
        check_fit([two_gpus], Limits(2, 4, ()))
    assert check_fit([two_gpus], Limits(2, 64, ("0", "1"))) == []
    assert "no step declares a GPU" in check_fit([step("first")], Limits(2, 64, ("0",)))[0]
    large = step("large", resources=Resources(cores=1, memory_gb=64))
    assert [warning.split(":")[0] for warning in check_fit([step("first"), large], Limits(2, 4, ()))] == ["large"]


def test_each_device_is_reserved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GPUS_VARIABLE, "2,5")
    third: list[str] = []

    def reserve_third() -> None:
        with reserve_gpus(1, tmp_path) as (variables, _):
            third.append(variables["CUDA_VISIBLE_DEVICES"])

    with reserve_gpus(1, tmp_path) as (first, locks):
        with reserve_gpus(1, tmp_path) as (second, _):
            assert {first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]} == {"2", "5"} and len(locks) == 1
            thread = threading.Thread(target=reserve_third)
            thread.start()
            time.sleep(0.7)
            assert third == []
        thread.join(10)
        assert third == [second["CUDA_VISIBLE_DEVICES"]]
    with reserve_gpus(2, tmp_path) as (both, _):
        assert both == {"CUDA_VISIBLE_DEVICES": "2,5"}


def test_a_step_sees_only_the_devices_it_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv(GPUS_VARIABLE, "0,1")
    code = "import os; open('made', 'w').write(os.environ.get('CUDA_VISIBLE_DEVICES', 'not set'))"
    for count, visible in ((0, ""), (1, "0"), (2, "0,1")):
        work = tmp_path / str(count)
        gpu_step = step("first", code=code, outputs=("made",), resources=Resources(gpus=count))
        assert run_step(Plan("demo", work, (gpu_step,)), gpu_step) == 0
        assert (work / "made").read_text() == visible


def test_a_cluster_assigns_devices_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GPUS_VARIABLE, raising=False)
    with reserve_gpus(1, tmp_path) as reserved:
        assert reserved == ({}, []) and not list(tmp_path.iterdir())


def test_devices_that_the_environment_hides() -> None:
    assert list_gpus({"CUDA_VISIBLE_DEVICES": "3,GPU-5e8"}) == ["3", "GPU-5e8"]
    assert list_gpus({"CUDA_VISIBLE_DEVICES": ""}) == list_gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == []

"""Plain `lm_eval` with its `hf` and `dummy` model classes."""

from pathlib import Path

import pytest

from fin_plugins.demo import engine_arguments
from tests.conftest import samples
from tests.end_to_end.checks import check_run, lm_eval


def test_command_of_the_task_card_with_the_demo_model(tmp_path: Path, demo_model_path: Path) -> None:
    printed = lm_eval(
        *("--tasks", "fin_unseen,fin_fomc_gen", "--model", "hf"),
        *("--model_args", f"pretrained={demo_model_path},{engine_arguments('hf')}", "--apply_chat_template"),
        *("--batch_size", "8", "--limit", "3", "--device", "cpu", "--output_path", str(tmp_path), "--log_samples"),
        FIN_DATA="sample",
    )
    tasks = ["fin_argument", "fin_deal", "fin_causal", "fin_fomc_gen"]
    results = check_run(tmp_path, printed, tasks, "sample")
    group = results["results"]["fin_unseen"]
    assert group["acc,none"] == pytest.approx(sum(results["results"][task]["acc,none"] for task in tasks[:3]) / 3)
    assert "embedded sample rows" in printed
    assert all(len(samples(tmp_path, task)) == 3 for task in tasks)


def test_all_groups_with_the_dummy_model(tmp_path: Path, demo_model_path: Path) -> None:
    printed = lm_eval(
        *("--tasks", "fin,fin_gen,fin_causal_full,fin_finred_paper_gen", "--model", "dummy", "--limit", "3"),
        *("--model_args", f"pretrained={demo_model_path}", "--output_path", str(tmp_path), "--log_samples"),
        FIN_DATA="sample",
    )
    keys = ("fpb", "fiqa", "headline", "finred", "fomc", "argument", "deal", "causal")
    tasks = [f"fin_{key}{suffix}" for key in keys for suffix in ("", "_gen")]
    results = check_run(tmp_path, printed, [*tasks, "fin_causal_full", "fin_finred_paper_gen"], "sample")
    assert set(results["groups"]) == {"fin", "fin_gen"}
    assert results["results"]["fin_fpb_gen"]["missing,none"] == 1.0  # the dummy answers "lol"


def test_validate() -> None:
    printed = lm_eval("validate", "--tasks", "fin,fin_seen_gen,fin_fomc,fin_sentiment")
    assert "All tasks found and valid" in printed


def test_invalid_setting_is_a_one_line_error_with_exit_status_1() -> None:
    printed = lm_eval("--tasks", "fin_fomc", "--model", "dummy", status=1, FIN_DATA_DIR="/nonexistent-fin-data")
    assert "fin data fetch fin_fomc" in printed.split("fin: error: ")[1]
    assert "Traceback" not in printed

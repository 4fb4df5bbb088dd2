"""Assumptions of `compat/trl`, `compat/peft` and `compat/torch`."""

import inspect
from types import SimpleNamespace

import torch
from trl import SFTTrainer

from fin_plugins.compat.peft import pattern_value
from fin_plugins.compat.torch import cpu_has_bfloat16
from fin_plugins.compat.trl import forget_evaluation_metrics


def test_the_trainer_collects_metrics_of_its_own_loss_by_mode_and_logs_them() -> None:
    assert 'self._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}' in inspect.getsource(SFTTrainer)
    assert "self._metrics[mode]" in inspect.getsource(SFTTrainer.log)
    trainer = SimpleNamespace(_metrics={"train": {"a": [1]}, "eval": {"b": [2]}})
    forget_evaluation_metrics(trainer)
    assert trainer._metrics == {"train": {"a": [1]}, "eval": {}}


def test_methods_that_we_override_have_the_expected_parameters() -> None:
    assert {"model", "inputs", "return_outputs", "num_items_in_batch"} <= set(_parameters("compute_loss"))
    assert {"num_training_steps", "optimizer"} <= set(_parameters("create_scheduler"))
    assert "metric_key_prefix" in _parameters("evaluate")


def test_the_first_pattern_that_matches_the_end_of_a_module_name_applies() -> None:
    pattern = {"q_proj": 4, r"layers\.1\.mlp\.up_proj": 8, "up_proj": 16}
    assert pattern_value(pattern, "model.layers.0.self_attn.q_proj", 2) == 4
    assert pattern_value(pattern, "model.layers.1.mlp.up_proj", 2) == 8
    assert pattern_value(pattern, "model.layers.0.mlp.up_proj", 2) == 16
    assert pattern_value(pattern, "model.layers.0.mlp.down_proj", 2) == 2
    assert pattern_value({}, "model.layers.0.mlp.down_proj", 2) == 2


def test_torch_reports_whether_the_processor_has_bfloat16() -> None:
    assert isinstance(cpu_has_bfloat16(), bool)
    assert torch.__version__.startswith("2.13."), "the tested version"


def _parameters(name: str) -> list[str]:
    return list(inspect.signature(getattr(SFTTrainer, name)).parameters)

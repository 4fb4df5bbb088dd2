"""Hints when the engine starts."""

from types import SimpleNamespace

import pytest
import torch

from fin_plugins.evaluation import model_engine
from fin_plugins.evaluation.model_engine import LazyEngine


@pytest.mark.parametrize(
    ("dtype", "instructions", "hint"),
    [(torch.bfloat16, False, True), (torch.bfloat16, True, False), (torch.float32, False, False), (None, False, False)],
)
def test_slow_bfloat16_has_a_hint(
    dtype: torch.dtype | None,
    instructions: bool,
    hint: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(model_engine, "computes_bfloat16", lambda: instructions)
    LazyEngine(lambda: SimpleNamespace(model=SimpleNamespace(dtype=dtype))).start()
    assert ("dtype=float32 in --model_args" in capsys.readouterr().err) is hint

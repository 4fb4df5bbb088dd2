"""What a run says of its engine once it has started."""

from types import SimpleNamespace

import pytest
import torch

from fin_plugins.evaluation import engine
from fin_plugins.evaluation.engine import Engine


@pytest.mark.parametrize(
    ("dtype", "instructions", "hint"),
    [(torch.bfloat16, False, True), (torch.bfloat16, True, False), (torch.float32, False, False), (None, False, False)],
)
def test_slow_bfloat16_is_named_with_its_remedy(
    dtype: torch.dtype | None,
    instructions: bool,
    hint: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(engine, "computes_bfloat16", lambda: instructions)
    Engine(lambda: SimpleNamespace(model=SimpleNamespace(dtype=dtype))).start()
    assert ("dtype=float32 in --model_args" in capsys.readouterr().err) is hint

"""The base model as training loads it."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM

from fin_plugins.training.config import TrainConfig
from fin_plugins.training.model import load
from tests.scoring.tiny import SIZES, save_tiny

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_soft_cap_of_attention_scores_is_kept(tiny_models, tmp_path):
    """`sdpa`, the default of Gemma 2 before transformers 5.24, leaves it out without a word."""
    config = Gemma2Config(
        vocab_size=300, num_key_value_heads=2, head_dim=8, initializer_range=0.9, attn_logit_softcapping=1.0, **SIZES
    )
    folder = save_tiny(tmp_path / "gemma2", tiny_models["base"], Gemma2ForCausalLM, config)
    training = TrainConfig.model_validate({"model": str(folder), "tasks": ["fin_fomc"], "dtype": "float32"})
    tokens = torch.tensor([[5, 6, 7, 8, 9]])
    eager = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        torch.testing.assert_close(load(training, str(folder))(tokens).logits, eager(tokens).logits)
        uncapped = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        for layer in uncapped.model.layers:
            layer.self_attn.attn_logit_softcapping = None
        assert not torch.allclose(uncapped(tokens).logits, eager(tokens).logits, atol=1e-3)

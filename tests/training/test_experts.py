"""Training on a mixture of experts: its loss is the language model's, without the routers' balance."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from fin_plugins.training.config import TrainConfig
from fin_plugins.training.prepare import prepare
from tests.scoring.tiny import SIZES, save_tiny
from tests.training.running import SMALL, losses, run

pytestmark = pytest.mark.usefixtures("sample_data", "one_thread")

COMMON = {**SIZES, "vocab_size": 300, "max_position_embeddings": 4096, "num_key_value_heads": 2, "head_dim": 8}
MODELS = {
    "qwen3_moe": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig(**COMMON, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16),
    ),
    "mixtral": (MixtralForCausalLM, MixtralConfig(**COMMON, num_local_experts=4, num_experts_per_tok=2)),
}
# One batch of all rows: the first loss is that of the base on them.
SETTINGS = {
    "tasks": [{"task": "fin_fomc", "cap": 3}],
    "batch_size": 3,
    "epochs": 2,
    "scheduler": "constant",
    "validation": "off",
}


@pytest.mark.parametrize("loss", ["completion", "all"])
@pytest.mark.parametrize("name", MODELS)
def test_a_mixture_of_experts_trains_on_the_language_models_loss(name, loss, tiny_models, tmp_path):
    model_class, config = MODELS[name]
    config.router_aux_loss_coef, config.output_router_logits = 0.1, True
    model = save_tiny(tmp_path / name, tiny_models["llama3"], model_class, config)
    result = run(model, tmp_path / "out", loss=loss, **SETTINGS)
    assert result.record["config"]["batching"] == ("packed" if loss == "all" else "shared_prefix")
    curve = losses(result.folder)
    assert curve[0] == pytest.approx(plain_loss(model, loss), rel=1e-5)
    assert curve[-1] < curve[0]


def plain_loss(folder, loss):
    """Mean over the counted tokens of all rows, each row alone."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_router_logits=False)
    config = TrainConfig.model_validate({**SMALL, **SETTINGS, "model": str(folder), "loss": loss})
    total, counted = 0.0, 0
    with torch.no_grad():
        for one in prepare(config, str(folder)).tokens:
            labels = torch.tensor(one.labels[1:])
            logits = model(input_ids=torch.tensor([one.ids])).logits[0, :-1]
            total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
            counted += int((labels != -100).sum())
    return total / counted

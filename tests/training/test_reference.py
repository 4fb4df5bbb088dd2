"""A whole run against a loop written by hand: the same batches, losses and adapter, within float noise."""

import math
from collections.abc import Iterator

import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from tests.training.running import losses, run
from transformers import AutoModelForCausalLM, set_seed

from fin_plugins.training import fit
from fin_plugins.training.prepare import prepare
from fin_plugins.training.config import TrainConfig

pytestmark = pytest.mark.usefixtures("sample_data", "one_thread")

ROWS, BATCH, ACCUMULATION, EPOCHS, RATE = 18, 4, 2, 2, 0.01
STEPS = 6  # three an epoch: batches of 4 and 4, 4 and 4, and 2 alone
SETTINGS = {
    "tasks": [{"task": "fin_fomc", "cap": ROWS}],
    "batch_size": BATCH,
    "gradient_accumulation": ACCUMULATION,
    "learning_rate": RATE,
    "weight_decay": 0.01,
    "max_grad_norm": 0.1,
    "warmup_ratio": 0.2,
    "validation": "off",
}
Row = dict[str, list[int]]

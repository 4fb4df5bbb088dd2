"""Others' tools take the adapter as it is: mergekit here, vLLM and PEFT in `tests/end_to_end/test_adapters.py`."""

import pytest
import torch
from safetensors.torch import load_file

from tests.training.running import run

pytestmark = pytest.mark.usefixtures("sample_data", "one_thread")


def test_mergekit_takes_the_adapter(tiny_models, tmp_path):
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    base = tiny_models["llama3"]
    result = run(base, tmp_path / "out", max_steps=2, validation="off", merge=True)
    recipe = {
        "merge_method": "linear",
        "dtype": "float32",
        "models": [{"model": f"{base}+{result.folder}", "parameters": {"weight": 1.0}}],
    }
    options = MergeOptions(lora_merge_cache=str(tmp_path / "cache"), copy_tokenizer=False, quiet=True)
    run_merge(MergeConfiguration.model_validate(recipe), str(tmp_path / "theirs"), options)
    ours, theirs, untrained = (
        load_file(folder / "model.safetensors") for folder in (result.merged, tmp_path / "theirs", base)
    )
    for name, weight in theirs.items():
        torch.testing.assert_close(weight, ours[name], rtol=1e-5, atol=1e-6)
    name = "model.layers.0.mlp.down_proj.weight"
    assert not torch.equal(theirs[name], untrained[name])

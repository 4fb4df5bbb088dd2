"""Which batching a model gets: tried on it, and refused where losses would be wrong."""

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    set_seed,
)

from fin_plugins.errors import FinError
from fin_plugins.training.batching import choose_batching
from fin_plugins.training.config import TrainConfig
from fin_plugins.training.examples import IGNORED, Tokens
from tests.scoring.tiny import SIZES

pytestmark = pytest.mark.usefixtures("one_thread")

TOKENS = [
    Tokens([1, 2, 3, 4, 5, 10], [IGNORED] * 5 + [10]),
    Tokens([1, 2, 3, 9, 11, 12], [IGNORED] * 4 + [11, 12]),
    Tokens([1, 2, 7, 8, 13], [IGNORED] * 4 + [13]),
]


def config(**settings):
    return TrainConfig.model_validate({"model": "tiny", "tasks": ["fin_fomc"], **settings})


def llama(**settings):
    set_seed(3)
    return LlamaForCausalLM(LlamaConfig(vocab_size=40, initializer_range=0.5, **SIZES, **settings))


def mamba():
    """Its state runs through the whole sequence, whatever a mask says."""
    set_seed(3)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "expand": 2, "conv_kernel": 4}
    return MambaForCausalLM(MambaConfig(vocab_size=40, **sizes))


def test_auto_shares_prefixes_where_the_model_takes_a_mask():
    model = llama()
    model.train()
    assert choose_batching(config(), model, TOKENS) == "shared_prefix"
    assert model.training  # the trial leaves no trace


def test_auto_packs_for_the_loss_over_the_whole_text():
    assert choose_batching(config(loss="all"), llama(), TOKENS) == "packed"


def test_a_way_that_is_named_is_taken():
    for name in ("padded", "packed", "padding_free", "shared_prefix"):
        assert choose_batching(config(batching=name), llama(), TOKENS) == name


def test_a_model_that_takes_no_mask_is_padded(caplog):
    model = mamba()
    assert choose_batching(config(), model, TOKENS) == "padded"
    assert "padded, because with shared_prefix" in caplog.text
    with pytest.raises(FinError, match=r"batching: shared_prefix: .*use padded"):
        choose_batching(config(batching="shared_prefix"), model, TOKENS)


def test_examples_of_one_sequence_cannot_see_each_other_or_it_is_refused():
    """TRL's packing relies on position ids to keep them apart; a state that runs on does not look at those."""
    model = llama()
    ids, positions = torch.tensor([[1, 2, 3, 4, 5, 6]]), torch.tensor([[0, 1, 2, 0, 1, 2]])
    other = ids.clone()
    other[0, :3] = torch.tensor([7, 8, 9])
    with torch.no_grad():
        seen = [model(input_ids=one, position_ids=positions, use_cache=False).logits[0, 3:] for one in (ids, other)]
    assert torch.equal(*seen)
    for name in ("packed", "padding_free"):
        with pytest.raises(FinError, match=f"batching: {name}: examples of one sequence see each other"):
            choose_batching(config(batching=name), mamba(), TOKENS)


def test_beyond_a_sliding_window_prefixes_are_not_shared(caplog):
    set_seed(3)
    model = MistralForCausalLM(MistralConfig(vocab_size=40, sliding_window=5, num_key_value_heads=2, **SIZES))
    assert choose_batching(config(), model, TOKENS) == "padded"
    assert "an example of 6 tokens exceeds the 5 that a token of this model sees" in caplog.text


def test_learnt_positions_are_no_obstacle():
    set_seed(3)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=32, n_layer=2, n_head=4, n_positions=64))
    assert choose_batching(config(), model, TOKENS) == "shared_prefix"

"""Which batching a model gets: tried through the trainer that will run, and refused where losses would be wrong."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import (
    AutoTokenizer,
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

from fin_plugins.common.errors import FinError
from fin_plugins.training import batching_check, fit, trainer
from fin_plugins.training.batching import build_checked
from fin_plugins.training.config import TrainConfig
from fin_plugins.training.examples import IGNORED, Tokens
from fin_plugins.training.ledger import Ledger
from tests.scoring.tiny import SIZES

pytestmark = pytest.mark.usefixtures("one_thread")

VOCABULARY = 300  # the tokenizer's padding is below it
TOKENS = [
    Tokens([1, 2, 3, 4, 5, 10], [IGNORED] * 5 + [10]),
    Tokens([1, 2, 3, 9, 11, 12], [IGNORED] * 4 + [11, 12]),
    Tokens([1, 2, 7, 8, 13], [IGNORED] * 4 + [13]),
]
WHOLE = [Tokens(one.ids, one.ids) for one in TOKENS]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fin-plugins" / "batching"


@pytest.fixture
def batching(tmp_path, tiny_models):
    """The way of batching that a trainer of the model and settings ends up with."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_models["base"])

    def chosen(model, **settings):
        config = TrainConfig.model_validate(
            {"model": "tiny", "tasks": ["fin_fomc"], "method": "full", "dtype": "float32", **settings}
        )
        prepared = SimpleNamespace(validation={}, lm=SimpleNamespace(tokenizer=tokenizer))
        tokens = WHOLE if config.loss == "all" else TOKENS

        def build(resolved):
            return fit._trainer(resolved, model, prepared, tokens, tmp_path / "work", Ledger(), resuming=False)

        resolved, built = build_checked(config, model, tokens, build)
        flattened = getattr(built.data_collator, "padding_free", False)
        assert flattened == (resolved.batching in ("packed", "padding_free"))
        return resolved.batching

    return chosen


def llama(**settings):
    set_seed(3)
    config = LlamaConfig(vocab_size=VOCABULARY, initializer_range=0.5, **SIZES)
    return LlamaForCausalLM._from_config(config, **settings)


def mamba():
    """Its state runs through the whole sequence, whatever a mask says."""
    set_seed(3)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "expand": 2, "conv_kernel": 4}
    return MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, **sizes))


def test_auto_shares_prefixes_where_the_model_takes_a_mask(batching):
    model = llama()
    model.train()
    assert batching(model) == "shared_prefix"
    assert model.training  # the trial leaves no trace


def test_auto_shares_prefixes_with_eager_attention_too(batching):
    assert batching(llama(attn_implementation="eager")) == "shared_prefix"


def test_auto_packs_for_the_loss_over_the_whole_text(batching):
    assert batching(llama(), loss="all") == "packed"


@pytest.mark.parametrize("name", ["padded", "packed", "padding_free", "shared_prefix"])
def test_a_way_that_is_named_is_taken(name, batching):
    assert batching(llama(), batching=name) == name


def test_a_model_that_takes_no_mask_is_padded(batching, caplog):
    model = mamba()
    assert batching(model) == "padded"
    assert "padded, because with shared_prefix" in caplog.text
    with pytest.raises(FinError, match=r"batching: shared_prefix: .*use padded"):
        batching(model, batching="shared_prefix")


def test_examples_of_one_sequence_cannot_see_each_other_or_it_is_refused(batching, caplog):
    """TRL's packing relies on position ids to keep them apart; a mask that lets them through is no obstacle to it."""
    model = MambaWithoutBoundaries.made()
    for name in ("packed", "padding_free"):
        with pytest.raises(FinError, match=f"batching: {name}: this model's losses differ .*use padded"):
            batching(model, batching=name)
    assert batching(model, loss="all") == "padded"
    assert "padded, because with packed" in caplog.text


class MambaWithoutBoundaries(MambaForCausalLM):
    """As models are that take no notice of where a text begins in a sequence."""

    @classmethod
    def made(cls):
        plain = mamba()
        model = cls(plain.config)
        model.load_state_dict(plain.state_dict())
        return model

    def forward(self, *arguments, position_ids=None, seq_idx=None, **settings):
        boundaries = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
        return super().forward(*arguments, **{k: v for k, v in settings.items() if k not in boundaries})


def test_a_release_that_takes_masks_otherwise_is_noticed(batching, monkeypatch, caplog):
    """As transformers 5.24 did: attention became eager, which adds a boolean mask to its scores."""
    monkeypatch.setattr(trainer, "mask_dtype", lambda *_: torch.bool)
    model = llama(attn_implementation="eager")
    assert batching(model) == "padded"
    assert "losses differ" in caplog.text
    with pytest.raises(FinError, match="use padded"):
        batching(model, batching="shared_prefix")


def test_differences_that_cancel_are_noticed(batching, monkeypatch):
    plain = trainer.Trainer.token_losses

    def shifted(self, model, inputs):
        losses = plain(self, model, inputs)
        return losses + torch.tensor([0.1, -0.1]).repeat(len(losses))[: len(losses) // 2 * 2]

    monkeypatch.setattr(trainer.Trainer, "token_losses", shifted)
    with pytest.raises(FinError, match=r"padded batches: this model's losses differ \(by 0.1 nats"):
        batching(llama(), batching="padded")


def test_what_was_found_is_remembered_for_a_model_and_versions(batching, cache, monkeypatch):
    assert batching(llama()) == "shared_prefix"
    (note,) = cache.iterdir()
    note.write_text(json.dumps({"reason": "of what the note says"}), encoding="utf-8")
    with pytest.raises(FinError, match="of what the note says"):
        batching(llama(), batching="shared_prefix")
    newer = {**batching_check.versions(), "transformers": "99"}
    monkeypatch.setattr(batching_check, "versions", lambda: newer)
    assert batching(llama()) == "shared_prefix"


def test_a_base_that_is_not_finite_is_no_matter_of_batching(batching):
    model = llama()
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")
    with pytest.raises(FinError, match="not finite before any training"):
        batching(model)


def test_beyond_a_sliding_window_prefixes_are_not_shared(batching, caplog):
    set_seed(3)
    model = MistralForCausalLM(MistralConfig(vocab_size=VOCABULARY, sliding_window=5, num_key_value_heads=2, **SIZES))
    assert batching(model) == "padded"
    assert "an example of 6 tokens exceeds the 5 that a token of this model sees" in caplog.text


def test_learnt_positions_are_no_obstacle(batching):
    set_seed(3)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64))
    assert batching(model) == "shared_prefix"

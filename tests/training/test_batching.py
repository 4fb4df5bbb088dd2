"""Which batching a model gets, tested with the trainer that will run, and refused if losses would be wrong."""

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
from fin_plugins.training import train_loop, trainer
from fin_plugins.training.batching import build_checked_trainer
from fin_plugins.training.machine import versions
from fin_plugins.training.run_stats import RunStats
from fin_plugins.training.train_config import TrainConfig
from fin_plugins.training.training_examples import IGNORED, TokenizedExample
from tests.scoring.factories import SIZES

pytestmark = pytest.mark.usefixtures("one_thread")

VOCABULARY = 300  # the tokenizer's padding is below it
EXAMPLES = [
    TokenizedExample([1, 2, 3, 4, 5, 10], [IGNORED] * 5 + [10]),
    TokenizedExample([1, 2, 3, 9, 11, 12], [IGNORED] * 4 + [11, 12]),
    TokenizedExample([1, 2, 7, 8, 13], [IGNORED] * 4 + [13]),
]
WHOLE = [TokenizedExample(example.ids, example.ids) for example in EXAMPLES]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fin-plugins" / "batching"


@pytest.fixture
def batching(tmp_path, tiny_models):
    """The batching that a trainer of the model and settings ends up with."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_models["base"])

    def choose(model, **settings):
        config = TrainConfig.model_validate(
            {"model": "tiny", "tasks": ["fin_fomc"], "method": "full", "dtype": "float32", **settings}
        )
        data = SimpleNamespace(validation={}, lm=SimpleNamespace(tokenizer=tokenizer))
        examples = WHOLE if config.loss == "all" else EXAMPLES

        def build(resolved):
            return train_loop.build_trainer(
                resolved, model, data, examples, tmp_path / "work", RunStats(), resuming=False
            )

        resolved, built = build_checked_trainer(config, model, examples, build)
        flattened = getattr(built.data_collator, "padding_free", False)
        assert flattened == (resolved.batching in ("packed", "padding_free"))
        return resolved.batching

    return choose


def llama(**settings):
    set_seed(3)
    config = LlamaConfig(vocab_size=VOCABULARY, initializer_range=0.5, **SIZES)
    return LlamaForCausalLM._from_config(config, **settings)


def mamba():
    """A model whose state runs through the sequence, whatever the mask."""
    set_seed(3)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "expand": 2, "conv_kernel": 4}
    return MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, **sizes))


def test_auto_shares_prefixes_if_the_model_takes_a_mask(batching):
    model = llama()
    model.train()
    assert batching(model) == "shared_prefix"
    assert model.training  # the test restores the mode


def test_auto_shares_prefixes_with_eager_attention_too(batching):
    assert batching(llama(attn_implementation="eager")) == "shared_prefix"


def test_auto_packs_if_the_prompt_counts(batching):
    assert batching(llama(), loss="all") == "packed"


@pytest.mark.parametrize("name", ["padded", "packed", "padding_free", "shared_prefix"])
def test_a_named_batching_is_used(name, batching):
    assert batching(llama(), batching=name) == name


def test_a_model_that_takes_no_mask_is_padded(batching, caplog):
    model = mamba()
    assert batching(model) == "padded"
    assert "padded, because with shared_prefix" in caplog.text
    with pytest.raises(FinError, match=r"batching: shared_prefix: .*use padded"):
        batching(model, batching="shared_prefix")


def test_packing_is_refused_if_examples_see_each_other(batching, caplog):
    """TRL's packing relies on position ids to separate them, which a model may ignore."""
    model = MambaWithoutBoundaries.create()
    for name in ("packed", "padding_free"):
        with pytest.raises(FinError, match=f"batching: {name}: .*use padded"):
            batching(model, batching=name)
    assert batching(model, loss="all") == "padded"
    assert "padded, because with packed" in caplog.text


class MambaWithoutBoundaries(MambaForCausalLM):
    """A model that ignores where a text begins in a sequence."""

    @classmethod
    def create(cls):
        plain = mamba()
        model = cls(plain.config)
        model.load_state_dict(plain.state_dict())
        return model

    def forward(self, *arguments, position_ids=None, seq_idx=None, **settings):
        boundaries = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
        return super().forward(*arguments, **{k: v for k, v in settings.items() if k not in boundaries})


def test_a_release_that_treats_masks_differently_is_detected(batching, monkeypatch, caplog):
    """In transformers 5.24 attention became eager, which adds a boolean mask to its scores."""
    monkeypatch.setattr(trainer, "mask_dtype", lambda *_: torch.bool)
    model = llama(attn_implementation="eager")
    assert batching(model) == "padded"
    assert "losses differ" in caplog.text
    with pytest.raises(FinError, match="use padded"):
        batching(model, batching="shared_prefix")


def test_differences_that_cancel_are_detected(batching, monkeypatch):
    plain = trainer.LabelTrainer.token_losses

    def shifted(self, model, inputs):
        losses = plain(self, model, inputs)
        return losses + torch.tensor([0.1, -0.1]).repeat(len(losses))[: len(losses) // 2 * 2]

    monkeypatch.setattr(trainer.LabelTrainer, "token_losses", shifted)
    with pytest.raises(FinError, match=r"padded batches: .*0\.1 nats"):
        batching(llama(), batching="padded")


def test_the_result_is_cached_by_model_and_versions(batching, cache, monkeypatch):
    assert batching(llama()) == "shared_prefix"
    (note,) = cache.iterdir()
    note.write_text(json.dumps({"reason": "the cached reason"}), encoding="utf-8")
    with pytest.raises(FinError, match="the cached reason"):
        batching(llama(), batching="shared_prefix")
    newer = {**versions(), "transformers": "99"}
    monkeypatch.setattr("fin_plugins.training.batching.versions", lambda: newer)
    assert batching(llama()) == "shared_prefix"


def test_a_base_with_nan_is_not_a_problem_of_batching(batching):
    model = llama()
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")
    with pytest.raises(FinError, match=r"not finite.*NaN"):
        batching(model)


def test_beyond_a_sliding_window_prefixes_are_not_shared(batching, caplog):
    set_seed(3)
    model = MistralForCausalLM(MistralConfig(vocab_size=VOCABULARY, sliding_window=5, num_key_value_heads=2, **SIZES))
    assert batching(model) == "padded"
    assert "an example of 6 tokens exceeds the 5 " in caplog.text


def test_learnt_positions_work_with_shared_prefixes(batching):
    set_seed(3)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64))
    assert batching(model) == "shared_prefix"

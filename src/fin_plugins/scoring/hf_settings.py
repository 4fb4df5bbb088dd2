"""Whether a generation request, and a model's own generation settings, ask for plain greedy replies only."""

from collections.abc import Mapping
from typing import Any

_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
# Fields of transformers' `GenerationConfig` that change no greedy reply, or that lm-eval sets itself. All others are
# taken to change it, so that one that is new in transformers is, too.
_WITHOUT_EFFECT = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version", "max_length"),
    *("do_sample", "temperature", "top_k", "top_p", "top_h", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
    *("use_cache", "cache_implementation", "output_attentions", "output_hidden_states", "output_scores"),
    *("output_logits", "compile_config", "disable_compile", "max_matching_ngram_size"),
)
_NEUTRAL = {
    **dict.fromkeys(("num_beams", "num_beam_groups", "num_return_sequences"), 1),
    **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty", "length_penalty", "guidance_scale"), 1.0),
    **dict.fromkeys(("min_length", "min_new_tokens", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), 0),
}


def greedy_only(settings: Any) -> bool:
    """Whether a request's settings are a length, stop strings, and that nothing is drawn."""
    if not isinstance(settings, Mapping):
        return False
    known = {"until", "do_sample", "temperature", *_LENGTHS}
    drawn = settings.get("do_sample")
    return known.issuperset(settings) and not drawn and (drawn is False or not settings.get("temperature"))


def beyond_greedy(model: Any) -> list[str]:
    """What a `transformers` model does when it generates, beside taking the likeliest token."""
    from transformers import GenerationMixin

    base = getattr(model, "get_base_model", lambda: model)()
    own = [] if getattr(type(base), "generate", None) is GenerationMixin.generate else ["a generate of its own"]
    given = base.generation_config.to_dict() if base.generation_config else {}
    return own + sorted(
        name
        for name, value in given.items()
        if not (value is None or value is False or name.startswith("_") or name in _WITHOUT_EFFECT)
        and not (name in _NEUTRAL and value == _NEUTRAL[name])
    )

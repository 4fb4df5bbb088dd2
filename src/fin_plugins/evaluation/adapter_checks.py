"""Checks of a running engine before the first score: it applies its adapters, and does so as PEFT does.

All distances are root mean squares in nats over the tokens of the probe's text, or over its labels.
"""

from collections.abc import Mapping, Sequence

from fin_plugins.common.errors import FinError
from fin_plugins.common.hashing import hash_files
from fin_plugins.evaluation.adapter_probe import (
    PeftReference,
    ProbeAnswers,
    ProbedLM,
    describe_model,
    engine_dtype,
    probe_active,
    probe_adapter,
    rms_difference,
)
from fin_plugins.evaluation.adapter_support import have_equal_updates, is_untrained
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS, Adapter

# Largest distance from PEFT in float32 attributed to rounding. Measured with SmolLM2-135M-Instruct on the CPU, with
# nine adapters of effects from 0.002 to 2 nats: bfloat16 0.05 to 0.12 (vLLM and transformers), float16 0.006 to 0.017
# (transformers), float32 1e-5. About three times the largest is allowed; in float32 more, for GPU kernels.
TOLERANCE = {"float32": 1e-3, "float16": 0.05, "bfloat16": 0.4}

_REMEDY = (
    "use --model fin_hf, or merge it into the base with PEFT's merge_and_unload and pass the result as pretrained="
)


def check_adapters(
    lm: ProbedLM, adapters: Sequence[Adapter], references: Mapping[str, PeftReference] | None = None
) -> dict[str | None, ProbeAnswers]:
    """Check that each adapter changes the engine's answers, and in the right way.

    Probes the base twice (their difference is noise) and each adapter once. Leaves the base active, because the engine
    cannot report which adapter was active before.

    Args:
        lm: the running engine.
        adapters: the adapters to be scored.
        references: PEFT's answers by adapter name, from `peft_references`; None to skip the comparison.

    Returns:
        The answers of each adapter by name, and of the base (None), for `check_still_active`.

    Raises:
        FinError: an adapter changes nothing, answers like another, is not applied to labels, or PEFT disagrees.
    """
    if not adapters:
        return {}
    dtype = engine_dtype(lm)
    try:
        base, repeated = probe_adapter(lm, None), probe_adapter(lm, None)
        probed: list[tuple[Adapter, ProbeAnswers]] = []
        for adapter in adapters:
            adapted = probe_adapter(lm, adapter)
            check_change(adapter, base, repeated, adapted)
            for other, answers in probed:
                check_distinct(other, adapter, answers, adapted)
            probed.append((adapter, adapted))
            check_scoring(adapter, base, adapted, dtype)
            if references is not None:
                check_agreement(adapter, base, adapted, references[adapter.name], dtype)
    finally:
        lm.use_adapter(None)
    return {None: base, **{adapter.name: answers for adapter, answers in probed}}


def check_still_active(lm: ProbedLM, adapter: Adapter | None, checked: ProbeAnswers) -> None:
    """Check that the active model is the one that was checked, although others were attached in between.

    Args:
        lm: the running engine, with the adapter active.
        adapter: the adapter; None for the base alone.
        checked: its answers in `check_adapters`.

    Raises:
        FinError: its answers to the probe have changed.
    """
    now = probe_active(lm, adapter)
    change = max(rms_difference(checked.text, now.text), rms_difference(checked.scored, now.scored))
    dtype = engine_dtype(lm)
    if change > TOLERANCE[dtype] / 3:
        raise FinError(
            f"{describe_model(adapter)} answers the probe differently ({change:.2g} nats in {dtype}) than when it was "
            f"checked, so another adapter has left something behind: score it in a separate run, or {_REMEDY}"
        )


def check_change(adapter: Adapter, base: ProbeAnswers, repeated: ProbeAnswers, adapted: ProbeAnswers) -> None:
    """Check that the adapter changes the answers by more than two runs of the base differ.

    Raises:
        FinError: it does not; gives the reason if the adapter's file shows it.
    """
    noise = rms_difference(base.text, repeated.text)
    change = rms_difference(base.text, adapted.text)
    if change > max(3 * noise, 1e-6):
        return
    if is_untrained(adapter):
        raise FinError(
            f"adapter {adapter.name} changes nothing: in {adapter.path / WEIGHTS} one factor of every product is zero, "
            "as before any training: give the folder of the trained adapter"
        )
    raise FinError(
        f"adapter {adapter.name} does not change the engine's answers (by {change:.2g} nats on the probe, where two "
        f"runs of the base differ by {noise:.2g}), although its weights are not zero, so the engine ignores it: "
        f"{_REMEDY}"
    )


def check_distinct(first: Adapter, second: Adapter, first_answers: ProbeAnswers, second_answers: ProbeAnswers) -> None:
    """Check that two adapters with different weights do not give identical answers.

    Different files may still hold equal updates, for example two merges that arrive at the same weights.

    Raises:
        FinError: they do.
    """
    if first_answers.text != second_answers.text:
        return
    hashes = [hash_files([adapter.path / CONFIG, adapter.path / WEIGHTS], adapter.path) for adapter in (first, second)]
    if hashes[0] != hashes[1] and not have_equal_updates(first, second):
        raise FinError(
            f"adapters {first.name} and {second.name} are different files but give identical answers, so the engine "
            f"confuses them: score them in two runs, or {_REMEDY}"
        )


def check_scoring(adapter: Adapter, base: ProbeAnswers, adapted: ProbeAnswers, dtype: str) -> None:
    """Check that the adapter is fully applied when labels are scored, including to a cached prompt.

    The base was scored just before, so its prompt is in the engine's cache. The check only applies if the adapter
    changes the labels clearly more than rounding does.

    Raises:
        FinError: the scores differ from those of a single pass with the adapter.
    """
    effect = rms_difference(base.full_pass, adapted.full_pass)
    error = rms_difference(adapted.scored, adapted.full_pass)
    rounding = max(rms_difference(base.scored, base.full_pass), TOLERANCE[dtype] / 3)
    if effect > 5 * rounding and error > effect / 3:
        raise FinError(
            f"adapter {adapter.name}: label scores differ by {error:.2g} nats from those of a single pass, with an "
            f"adapter effect of {effect:.2g}, so part of the answer is the base's, probably from the prefix cache: "
            f"pass enable_prefix_caching=False in --model_args, or {_REMEDY}"
        )


def check_agreement(
    adapter: Adapter, base: ProbeAnswers, adapted: ProbeAnswers, reference: PeftReference, dtype: str
) -> None:
    """Compare the engine's answers with PEFT's in float32.

    The distance n between the engine's base and PEFT's measures rounding (and other kernels) on this very text; the
    adapter's effect in PEFT is e. An engine that applies the adapter is about n from PEFT, one that ignores it about
    e, one that halves its scale about e/2. So up to 1.5 n or e/3 is agreement, within the tolerance of the data type,
    and an effect below 3 n cannot be distinguished from rounding.

    Args:
        adapter: the adapter.
        base: the engine's answers without it.
        adapted: the engine's answers with it.
        reference: PEFT's answers.
        dtype: data type that the engine computes in.

    Raises:
        FinError: base or adapter disagree, or the adapter's effect is too small for this data type.
    """
    if reference.tokens != base.tokens:
        raise FinError(
            "--verify-adapters: the engine's tokenizer encodes the probe differently than the tokenizer used for its "
            "prompts: check tokenizer and add_bos_token in --model_args"
        )
    rounding = rms_difference(base.text, reference.base)
    effect = rms_difference(reference.adapted, reference.base)
    error = rms_difference(adapted.text, reference.adapted)
    if rounding > TOLERANCE[dtype]:
        raise FinError(
            f"--verify-adapters: the base alone is {rounding:.2g} nats from transformers' answer on the probe (at most "
            f"{TOLERANCE[dtype]:g} in {dtype}), so the engine computes another model: check dtype and quantization"
        )
    if effect < 3 * rounding:
        raise FinError(
            f"--verify-adapters: adapter {adapter.name} changes PEFT's answer on the probe by {effect:.2g} nats, and "
            f"{dtype} alone by {rounding:.2g}, too much to see whether the engine applies it: pass dtype=float32 in "
            "--model_args, or leave --verify-adapters out"
        )
    allowed = min(TOLERANCE[dtype], max(1.5 * rounding, effect / 3))
    if error > allowed:
        raise FinError(
            f"--verify-adapters: adapter {adapter.name}: the engine's answer is {error:.2g} nats from PEFT's on the "
            f"probe ({allowed:.2g} is allowed in {dtype}), with an adapter effect of {effect:.2g}, so the engine does "
            f"not apply it as PEFT does: {_REMEDY}"
        )

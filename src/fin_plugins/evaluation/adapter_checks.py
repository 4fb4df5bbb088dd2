"""Whether the running engine really applies its adapters, and as PEFT does: checked before the first score.

All distances are root mean squares in nats over the tokens of the probe's text, or over its labels.
"""

from collections.abc import Mapping, Sequence

from fin_plugins.common.errors import FinError
from fin_plugins.common.hashing import hash_files
from fin_plugins.evaluation.probe import Answers, Engine, ask, ask_attached, distance, engine_dtype
from fin_plugins.evaluation.reference import Reference
from fin_plugins.evaluation.servable import same_change, untrained
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS, Adapter

# Largest distance from PEFT in float32 that rounding explains. Measured with SmolLM2-135M-Instruct, on the CPU, with
# nine adapters of effects from 0.002 to 2 nats: bfloat16 0.05 to 0.12 (vLLM and transformers), float16 0.006 to 0.017
# (transformers), float32 1e-5. About three times the largest is allowed; in float32 more, for kernels of GPUs.
TOLERANCE = {"float32": 1e-3, "float16": 0.05, "bfloat16": 0.4}

_MEND = "use --model fin_hf, or merge it into the base with PEFT's merge_and_unload and pass the result as pretrained="


def check_adapters(
    lm: Engine, adapters: Sequence[Adapter], references: Mapping[str, Reference] | None = None
) -> dict[str | None, Answers]:
    """Check that each adapter changes the engine's answers, and in the way it should.

    The base is asked twice (what differs between the two is noise), each adapter once. The base is in force afterwards,
    whatever was before: the engine does not tell.

    Args:
        lm: the running engine.
        adapters: the adapters that will be scored.
        references: PEFT's answers by the adapter's name (`reference.references`); where given they are compared too.

    Returns:
        What each adapter answers, by its name, and the base (None): `check_attachment` wants it when they are scored.

    Raises:
        FinError: an adapter changes nothing, answers as another, is not there for the labels, or PEFT disagrees.
    """
    if not adapters:
        return {}
    dtype = engine_dtype(lm)
    try:
        base, again = ask(lm, None), ask(lm, None)
        seen: list[tuple[Adapter, Answers]] = []
        for adapter in adapters:
            adapted = ask(lm, adapter)
            check_change(adapter, base, again, adapted)
            for other, answers in seen:
                check_distinct(other, adapter, answers, adapted)
            seen.append((adapter, adapted))
            check_scoring(adapter, base, adapted, dtype)
            if references is not None:
                check_agreement(adapter, base, adapted, references[adapter.name], dtype)
    finally:
        lm.use_adapter(None)
    return {None: base, **{adapter.name: answers for adapter, answers in seen}}


def check_attachment(lm: Engine, adapter: Adapter | None, checked: Answers) -> None:
    """Check that the model about to be scored is the one that was checked, though others were attached in between.

    Args:
        lm: the running engine, with the adapter in use.
        adapter: the adapter, None for the base alone.
        checked: its answers in `check_adapters`.

    Raises:
        FinError: it answers the probe otherwise.
    """
    now = ask_attached(lm, adapter)
    moved = max(distance(checked.text, now.text), distance(checked.scored, now.scored))
    dtype = engine_dtype(lm)
    if moved > TOLERANCE[dtype] / 3:
        raise FinError(
            f"{f'adapter {adapter.name}' if adapter else 'the base model'} answers the probe otherwise ({moved:.2g} "
            f"nats in {dtype}) than when it was checked: something of another adapter is left; score it in a run of "
            f"its own, or {_MEND}"
        )


def check_change(adapter: Adapter, base: Answers, again: Answers, adapted: Answers) -> None:
    """Check that the adapter changes the answers by more than two runs of the base differ.

    Raises:
        FinError: it does not; says whether the file shows why.
    """
    noise = distance(base.text, again.text)
    change = distance(base.text, adapted.text)
    if change > max(3 * noise, 1e-6):
        return
    if untrained(adapter):
        raise FinError(
            f"adapter {adapter.name} changes nothing: in {adapter.path / WEIGHTS} one factor of every product is zero, "
            "as before any training: give the folder of the trained adapter"
        )
    raise FinError(
        f"adapter {adapter.name} does not change the engine's answers (by {change:.2g} nats on the probe, where two "
        f"runs of the base differ by {noise:.2g}), though its weights are not zero: the engine ignores it; {_MEND}"
    )


def check_distinct(first: Adapter, second: Adapter, one: Answers, other: Answers) -> None:
    """Check that two adapters with different weights do not give the same answers, to the last bit.

    Two merges may have come to the same weights: then they may.

    Raises:
        FinError: they do.
    """
    if one.text != other.text:
        return
    hashes = [hash_files([adapter.path / CONFIG, adapter.path / WEIGHTS], adapter.path) for adapter in (first, second)]
    if hashes[0] != hashes[1] and not same_change(first, second):
        raise FinError(
            f"adapters {first.name} and {second.name} are different files and give the very same answers: the engine "
            f"takes one for the other; score them in two runs, or {_MEND}"
        )


def check_scoring(adapter: Adapter, base: Answers, adapted: Answers, dtype: str) -> None:
    """Check that labels are scored with the adapter all the way, a cached prompt included.

    The base was scored just before, so that its prompt is in the engine's cache. Judged only where the adapter changes
    the labels clearly more than rounding does.

    Raises:
        FinError: the scores are not the adapter's own, as one whole pass gives them.
    """
    effect = distance(base.whole, adapted.whole)
    error = distance(adapted.scored, adapted.whole)
    rounding = max(distance(base.scored, base.whole), TOLERANCE[dtype] / 3)
    if effect > 5 * rounding and error > effect / 3:
        raise FinError(
            f"adapter {adapter.name}: labels as they are scored differ by {error:.2g} nats from one whole pass, and "
            f"the adapter's own effect is {effect:.2g}: part of the answer is the base's, probably out of the prefix "
            f"cache; pass enable_prefix_caching=False in --model_args, or {_MEND}"
        )


def check_agreement(adapter: Adapter, base: Answers, adapted: Answers, reference: Reference, dtype: str) -> None:
    """Compare the engine's answers with PEFT's in float32.

    How far the engine's base is from PEFT's is what rounding (and other kernels) cost on this very text, n; the
    adapter's effect in PEFT is e. An engine that applies the adapter is about n from PEFT, one that ignores it about
    e, one that halves its scale about e/2. So up to 1.5 n or e/3 is agreement, within the tolerance of the type, and an
    effect below 3 n cannot be told from rounding.

    Args:
        adapter: the adapter.
        base: the engine's answers without it.
        adapted: and with it.
        reference: PEFT's.
        dtype: the type the engine computes in.

    Raises:
        FinError: base or adapter disagree, or the adapter's effect is too small to be seen in this type.
    """
    if reference.tokens != base.tokens:
        raise FinError(
            "--verify-adapters: the engine's tokenizer gives the probe other tokens than the one its prompts were made "
            "with: look at tokenizer and add_bos_token in --model_args"
        )
    rounding = distance(base.text, reference.base)
    effect = distance(reference.adapted, reference.base)
    error = distance(adapted.text, reference.adapted)
    if rounding > TOLERANCE[dtype]:
        raise FinError(
            f"--verify-adapters: the base alone is {rounding:.2g} nats from transformers' answer on the probe (at most "
            f"{TOLERANCE[dtype]:g} in {dtype}): the engine computes another model; look at dtype and quantization"
        )
    if effect < 3 * rounding:
        raise FinError(
            f"--verify-adapters: adapter {adapter.name} changes PEFT's answer on the probe by {effect:.2g} nats, and "
            f"{dtype} alone by {rounding:.2g}: whether the engine applies it cannot be told; pass dtype=float32 in "
            "--model_args to see, or leave --verify-adapters out"
        )
    allowed = min(TOLERANCE[dtype], max(1.5 * rounding, effect / 3))
    if error > allowed:
        raise FinError(
            f"--verify-adapters: adapter {adapter.name}: the engine's answer is {error:.2g} nats from PEFT's on the "
            f"probe ({allowed:.2g} is allowed in {dtype}), and the adapter's whole effect is {effect:.2g}: the engine "
            f"does not apply it as PEFT does; {_MEND}"
        )

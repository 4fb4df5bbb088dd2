"""Names of models to show: short, readable, no folder of this machine in them, and no two models of one name."""

import posixpath
import unicodedata
from collections.abc import Mapping, Sequence
from hashlib import sha256

from fin_plugins.board.reading.model_args import Identity, identity, is_hub_name, short_name
from fin_plugins.board.reading.raw import Run

LONGEST = 60
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # among them what turns the direction of writing
# Whose result files say what type a model really has; the arguments of other engines speak for themselves.
_TELL_DTYPE = ("hf", "fin_hf", "hf-auto", "huggingface")

Names = tuple[str, str | None]
"""Model, and its base where it is an adapter."""


class Chosen:
    """Names that somebody chose, by what they call the model; tells which were of use."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = {key: clean(name) for key, name in names.items()}
        self._used: set[str] = set()

    def find(self, *keys: str) -> str | None:
        """The name for the first of the keys that has one; a path may be written with `/` behind or `./` before."""
        for given, name in self._names.items():
            if any(key and key in (given, posixpath.normpath(given)) for key in keys):
                self._used.add(given)
                return name
        return None

    def is_one(self, name: str) -> bool:
        """Whether the name was chosen, and not made here."""
        return name in self._names.values()

    def unused(self) -> list[str]:
        """What called no model."""
        return [given for given in self._names if given not in self._used]


def show_names(runs: Sequence[Run], chosen: Chosen) -> list[Names]:
    """The names of each run's model and of its base.

    Two runs have the same name only where they are of the same model: the same base and adapter, and the same
    arguments other than those that say how fast. A model that `chosen` names in two places is one model.

    Args:
        runs: the runs; one in the committed form keeps the names that it was given then, where `chosen` has no other.
        chosen: names by path, name on the hub, name of the adapter, or by the name that would be shown.
    """
    found = {number: _identity(run) for number, run in enumerate(runs) if not run.names}
    shown = _names(sorted(set(found.values()), key=str), chosen)
    return [shown[found[number]] if number in found else _kept(run, chosen) for number, run in enumerate(runs)]


def clean(name: str) -> str:
    """The name on one line, without characters that cannot be seen, and with a hash in place of what is too long."""
    visible = "".join(" " if one.isspace() else one for one in name)
    visible = "".join(one for one in visible if unicodedata.category(one) not in _INVISIBLE)
    visible = " ".join(visible.split()) or f"unnamed {_hash(name)}"
    return visible if len(visible) <= LONGEST else f"{visible[: LONGEST - 8]}…~{_hash(name)}"


def altered(run: Run) -> list[str]:
    """What could not be shown of a run's names as it is: one message for each."""
    who = identity(run.engine, run.arguments)
    given = run.names or (short_name(who.base), who.adapter_name or short_name(who.adapter))
    return [
        f"a model's name has {len(name)} characters or some that cannot be seen: it is shown as {clean(name)}"
        for name in given
        if name and clean(name) != name
    ]


def _identity(run: Run) -> Identity:
    dtype = run.settings.get("dtype", "") if run.engine in _TELL_DTYPE else ""
    return identity(run.engine, run.arguments, dtype)


def _kept(run: Run, chosen: Chosen) -> Names:
    model, base = run.names or ("", None)
    return chosen.find(model) or clean(model), (chosen.find(base) or clean(base)) if base else None


def _names(models: Sequence[Identity], chosen: Chosen) -> dict[Identity, Names]:
    bases = _bases({model.base for model in models}, chosen)
    parents = {model: bases[model.base] if model.adapter else None for model in models}
    names = {model: _adapter(model, bases[model.base], chosen) or bases[model.base] for model in models}
    return {model: (name, parents[model]) for model, name in _unique(names, chosen).items()}


def _adapter(model: Identity, base: str, chosen: Chosen) -> str | None:
    if not model.adapter:
        return None
    plain = f"{clean(model.adapter_name or short_name(model.adapter))} (on {base})"
    return chosen.find(plain, model.adapter, model.adapter_name) or plain


def _bases(places: set[str], chosen: Chosen) -> dict[str, str]:
    """A name for each base. Where two have the same last part: the name on the hub, or a hash of the path behind it."""
    named = {place: chosen.find(place, short_name(place)) for place in places}
    short = {place: clean(short_name(place)) for place in places if not named[place]}
    taken = [*short.values(), *(name for name in set(named.values()) if name)]
    return {
        place: name or (short[place] if taken.count(short[place]) == 1 else _longer(place))
        for place, name in named.items()
    }


def _longer(place: str) -> str:
    return clean(place) if is_hub_name(place) else _marked(short_name(place), place)


def _marked(name: str, place: str) -> str:
    """A name and a hash that tells the place; the hash survives where the name is too long."""
    return f"{clean(name)}~{_hash(place)}"


def _unique(names: Mapping[Identity, str], chosen: Chosen) -> dict[Identity, str]:
    """Models of one name: told apart by the arguments they differ in, or else by a hash; the same model stays one."""
    by_name: dict[str, list[Identity]] = {}
    for model, name in names.items():
        by_name.setdefault(name, []).append(model)
    return {
        model: _told_apart(name, model, models, chosen) if len(models) > 1 else name
        for name, models in by_name.items()
        for model in models
    }


def _told_apart(name: str, model: Identity, models: Sequence[Identity], chosen: Chosen) -> str:
    """A chosen name makes several places one model, though never an adapter and its base."""
    same = [one for one in models if one.variant == model.variant]
    places = {bool(one.adapter) for one in same} if chosen.is_one(name) else {one.adapter for one in same}
    return (_marked(name, model.adapter) if len(places) > 1 else name) + _variant(model, models)


def _variant(model: Identity, models: Sequence[Identity]) -> str:
    common = set.intersection(*(set(one.variant) for one in models))
    differing = [clean(f"{key} {short_name(value)}") for key, value in model.variant if (key, value) not in common]
    return f" [{', '.join(differing)}]" if differing else ""


def _hash(text: str) -> str:
    return sha256(text.encode(errors="replace")).hexdigest()[:6]

"""Names of models to show: short, readable, no folder of this machine in them, and no two models of one name."""

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from fin_plugins.board.reading.model_args import Identity, identity, is_hub_name, short_name
from fin_plugins.board.reading.raw import Run

LONGEST = 60
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # among them what turns the direction of writing
# Whose result files say what type a model really has; the arguments of other engines speak for themselves.
_TELL_DTYPE = ("hf", "fin_hf", "hf-auto", "huggingface")

Names = tuple[str, str | None]
"""Model, and its base where it is an adapter."""


@dataclass(frozen=True)
class _Model:
    """What makes a model one: its base as shown, its adapter's place or chosen name, and further arguments.

    So a chosen name makes several places one model, though never an adapter and its base; and an adapter is its files,
    by whatever name it was passed.
    """

    base: str
    adapter: str
    variant: tuple[tuple[str, str], ...]


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
    keys: dict[Identity, _Model] = {}
    names: dict[_Model, str] = {}
    for model in sorted(models, key=lambda one: not one.adapter_name):  # a name that was given beats a folder's
        name = _adapter(model, bases[model.base], chosen)
        was_chosen = name is not None and chosen.is_one(name)
        keys[model] = _Model(bases[model.base], f"chosen: {name}" if was_chosen else model.adapter, model.variant)
        names.setdefault(keys[model], name or bases[model.base])
    shown = _told_apart(names)
    return {model: (shown[keys[model]], bases[model.base] if model.adapter else None) for model in models}


def _adapter(model: Identity, base: str, chosen: Chosen) -> str | None:
    if not model.adapter:
        return None
    plain = f"{clean(model.adapter_name or short_name(model.adapter))} (on {base})"
    return chosen.find(plain, model.adapter, model.adapter_name) or plain


def _bases(places: set[str], chosen: Chosen) -> dict[str, str]:
    """A name for each base. Where two have the same last part: the name on the hub, or a hash of the path behind it."""
    named = {place: chosen.find(place, short_name(place)) for place in places}
    short = {place: clean(short_name(place)) for place in places if not named[place]}
    taken = Counter([*short.values(), *(name for name in set(named.values()) if name)])
    return {
        place: name or (short[place] if taken[short[place]] == 1 else _longer(place)) for place, name in named.items()
    }


def _longer(place: str) -> str:
    return clean(place) if is_hub_name(place) else f"{clean(short_name(place))}~{_hash(place)}"


def _told_apart(names: dict[_Model, str]) -> dict[_Model, str]:
    """Models of one name are told apart by the arguments they differ in, or else by a hash."""
    for more in (_differing_arguments, _hash_of_adapter, _hash_of_all):
        groups: dict[str, list[_Model]] = {}
        for model, name in names.items():
            groups.setdefault(name, []).append(model)
        words = {name: more(group) if len(group) > 1 else ("",) for name, group in groups.items()}
        names = {
            model: name + word for name, group in groups.items() for model, word in zip(group, words[name], strict=True)
        }
    return names


def _differing_arguments(group: Sequence[_Model]) -> Iterable[str]:
    """What to put behind the name of each."""
    common = set.intersection(*(set(one.variant) for one in group))
    for model in group:
        words = [clean(f"{key} {short_name(value)}") for key, value in model.variant if (key, value) not in common]
        yield f" [{', '.join(words)}]" if words else ""


def _hash_of_adapter(group: Sequence[_Model]) -> Iterable[str]:
    is_one = len({one.adapter for one in group}) == 1
    return ["" if is_one else f"~{_hash(model.adapter)}" for model in group]


def _hash_of_all(group: Sequence[_Model]) -> Iterable[str]:
    return [f"~{_hash(str(model))}" for model in group]


def _hash(text: str) -> str:
    return sha256(text.encode(errors="replace")).hexdigest()[:6]

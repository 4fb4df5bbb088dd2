"""A task's card for people."""

from collections.abc import Iterator

from fin_plugins.catalogue.card import Split, TaskCard
from fin_plugins.catalogue.prompt import Prompt

_SIDES = {True: "seen", False: "unseen", None: "does not say whether seen or unseen"}
_PROTOCOLS = {
    "choice": "choice: the likelihood of the labels is compared",
    "gen": "gen: the model answers freely, and the answer is parsed",
}
_DATA = {"real": "real rows", "sample": "embedded sample rows (FIN_DATA=sample), not the data set"}
_SHORT = 12
_RULE = "─" * 72


def text(card: TaskCard) -> str:
    """The whole card."""
    return "\n".join([*_head(card), "", *_labels(card), "", *_floor(card), *_prompt(card)])


def _head(card: TaskCard) -> Iterator[str]:
    yield card.name + (f" · {card.about}" if card.about else "")
    facts = {
        "protocol": _PROTOCOLS.get(card.protocol, card.protocol),
        "side": _SIDES[card.seen],
        "groups": ", ".join(card.groups) or "none",
        "licence": card.licence or "not stated",
        "source": card.source or "not stated",
        "citation": card.citation,
        "language": card.language,
        "data": _DATA.get(card.data or "", card.data),
        "few-shot": f"examples come from the split {card.fewshot_split}" if card.fewshot_split else "no split for it",
        "file": f"{card.file}, sha256 {card.file_sha256[:_SHORT]}",
    }
    for name, fact in facts.items():
        if fact:
            yield f"  {name:<9} {fact}"


def _labels(card: TaskCard) -> Iterator[str]:
    names = list(dict.fromkeys(label for split in card.splits.values() for label in split.labels))
    width = max(map(len, ["before cleaning", *names]))
    yield f"{'rows':<{width}}" + "".join(f"{split:>18}" for split in card.splits)
    for name in names:
        yield f"{name:<{width}}" + "".join(_share(split, name) for split in card.splits.values())
    yield f"{'all':<{width}}" + "".join(f"{split.rows:>10,}{'':8}" for split in card.splits.values())
    before = [split.before_cleaning for split in card.splits.values()]
    if any(before):
        yield f"{'before cleaning':<{width}}" + "".join(f"{rows:>10,}{'':8}" if rows else " " * 18 for rows in before)
    yield f"{'sha256':<{width}}" + "".join(f"{(split.sha256 or '')[:_SHORT]:>18}" for split in card.splits.values())
    for reason, count in card.left_out.items():
        if count:
            yield f"left out ({reason.replace('_', ' ')}): {count:,}"


def _share(split: Split, label: str) -> str:
    count = split.labels.get(label, 0)
    share = f"({count / split.rows:.1%})" if split.rows else ""
    return f"{count:>10,} {share:<7}"


def _floor(card: TaskCard) -> Iterator[str]:
    if card.floor:
        figures = (("accuracy", "acc"), ("weighted F1", "weighted_f1"), ("macro F1", "macro_f1"))
        scores = ", ".join(f"{name} {card.floor[key]:.1%}" for name, key in figures)
        yield f"always answering {card.floor['label']} on the test rows: {scores}"
        yield ""


def _prompt(card: TaskCard) -> Iterator[str]:
    shown = card.prompt
    about = ", ".join(f"{name} {value}" for name, value in (("id", shown.id), ("label", shown.label)) if value)
    yield f"prompt of {shown.split} row {shown.row}" + (f" ({about})" if about else "") + ", plain:"
    yield from _framed(shown.plain)
    if shown.chat:
        yield f"the same in the chat template of {shown.chat_model}:"
        yield from _framed(shown.chat)
    else:
        yield f"in no chat template ({shown.no_chat})"
    answers = (shown.chat or shown.plain).answers
    if answers:
        yield "answers compared: " + ", ".join(f"{answer!r}" for answer in answers)


def _framed(prompt: Prompt) -> list[str]:
    return [_RULE, prompt.text, _RULE]

"""Groups: who is in them, and how their scores are put together."""

from collections.abc import Collection, Iterator, Mapping

from fin_plugins.checks.model import Finding, Function, TaskFile
from fin_plugins.checks.static.keys import entries
from fin_plugins.checks.static.metrics import reported
from fin_plugins.checks.world import World, name_of
from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_nodes import Key


def members(file: TaskFile, world: World) -> Iterator[Finding]:
    """Each member is there, once."""
    listed = file.data.get("task")
    if isinstance(listed, str):
        message = f"should be a list, as in `task: [{listed}]`: lm-eval finds no member in a bare name"
        yield file.finding("G04", ("task",), message)
    if listed == []:
        yield file.finding("G04", ("task",), "no members: the group has nothing to evaluate")
    seen: set[str] = set()
    for key, name, inline in _members(file):
        if name in seen:
            yield file.finding("G02", key, f"`{name}` is a member already: lm-eval loads it twice and counts it once")
        elif name == name_of(file):
            yield file.finding("G02", key, f"`{name}` is this group itself: lm-eval would never come to an end")
        elif not inline and not world.is_known(name):
            near = did_you_mean(name, world.names()) or "; `fin eval ls tasks` lists all names"
            yield file.finding("G01", key, f"`{name}`: no such task, group or tag{near}")
        seen.add(name)


def aggregation(file: TaskFile, world: World) -> Iterator[Finding]:
    """lm-eval averages, whatever else it is asked for."""
    for key, entry in entries(file, "aggregate_metric_list"):
        how = entry.get("aggregation", "mean") if isinstance(entry, dict) else "mean"
        if isinstance(how, Function):
            message = f"{how} is accepted and never called: lm-eval always takes the mean; take the line out"
            yield file.finding("G03", (*key, "aggregation"), message)
        elif isinstance(how, str) and how != "mean":
            yield file.finding("G03", (*key, "aggregation"), f"`{how}`: lm-eval knows mean only, and stops here")


def weights(file: TaskFile, world: World) -> Iterator[Finding]:
    """A group of ours says whether large tasks weigh more."""
    files = _files(file, world)
    if not files or not all(one is not None and one.ours for one in files):
        return
    for key, entry in entries(file, "aggregate_metric_list"):
        if isinstance(entry, dict) and "metric" in entry and "weight_by_size" not in entry:
            message = "is missing, and lm-eval then weighs tasks by their rows: write false for a plain mean over tasks"
            yield file.finding("G06", (*key, "weight_by_size"), message)


def metrics(file: TaskFile, world: World) -> Iterator[Finding]:
    """What is averaged is reported by every member that is known here, and stands in the list once."""
    files = [one for one in _files(file, world) if one is not None and one.kind == "task"]
    known = {str(name_of(one)): names for one in files if (names := reported(one)) is not None}
    seen: set[str] = set()
    for key, entry in entries(file, "aggregate_metric_list"):
        metric = entry.get("metric") if isinstance(entry, dict) else None
        if isinstance(metric, str):
            if message := _not_reported(metric, known):
                yield file.finding("G05", (*key, "metric"), message)
            if metric in seen and "filter_list" not in entry:
                yield file.finding("G07", (*key, "metric"), f"`{metric}` stands here twice: the second one counts")
            seen.add(metric)


def _not_reported(metric: str, known: Mapping[str, Collection[str]]) -> str | None:
    lacking = [name for name, names in known.items() if metric not in names]
    if not lacking:
        return None
    if len(lacking) == len(known):
        return f"`{metric}` is reported by no member{did_you_mean(metric, set().union(*known.values()))}"
    more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
    return f"`{metric}` is not reported by {', '.join(lacking[:3])}{more}"


def _members(file: TaskFile) -> Iterator[tuple[Key, str, bool]]:
    """Members by name, and whether the group defines them itself."""
    listed = file.data.get("task")
    for number, member in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(member, str):
            yield ("task", number), member, False
        elif isinstance(member, dict):
            kind = "group" if "group" in member else "task"
            name = member.get(kind)
            inline = kind == "group" or bool({"dataset_path", "custom_dataset", "include"} & set(member))
            if isinstance(name, str):
                yield ("task", number, kind), name, inline


def _files(file: TaskFile, world: World) -> list[TaskFile | None]:
    return [None if inline else world.file(name) for _, name, inline in _members(file)]

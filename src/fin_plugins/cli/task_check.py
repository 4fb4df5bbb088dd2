"""`fin task check`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from fin_plugins.common.errors import FinError

if TYPE_CHECKING:
    from fin_plugins.checks.findings import Finding
    from fin_plugins.checks.runner import CheckOptions


class _CheckError(click.ClickException):
    """One line and exit status 2, as for a usage error: the files could not be checked."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"fin: error: {self.message}", err=True)


@click.command("check")
@click.argument("path", nargs=-1)
@click.option("--tokenizer", metavar="MODEL", help="Folder or hub name: check the tokens of labels and prompts too.")
@click.option("--context", type=click.IntRange(min=1), help="Context length in tokens. [default: from MODEL's files]")
@click.option(
    "--long-share",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Share of the rows that may be longer.",
)
@click.option("--no-rows", is_flag=True, help="Check the files only, not the data.")
@click.option("--ignore", metavar="CODE", multiple=True, help="Leave a rule out; repeatable.")
@click.option("--format", "form", type=click.Choice(["text", "json", "github"]), default="text", show_default=True)
@click.option("--explain", metavar="CODE", help="Explain a rule and why it matters.")
@click.option("--list-rules", is_flag=True, help="Print all rules.")
@click.pass_context
def command(
    here: click.Context, /, path: tuple[str, ...], explain: str | None, list_rules: bool, form: str, **options: Any
) -> None:
    """Report every problem in task, group and training files, each with file, line, key and the code of its rule.

    PATH is a file or a folder, by default the working directory. Nothing that a file names is run. A comment
    `# fin: ignore L03` on the line of a key suppresses that finding; above the first key, it applies to the whole file.
    Exit status 0: no problems; 1: problems; 2: could not check.

    \b
    Examples:
      fin task check my_task.yaml
      fin task check . --tokenizer Qwen/Qwen3-0.6B --format github
      fin task check --explain L03
    """  # noqa: D301 (Click's mark, not a regex)
    try:
        if explain or list_rules:
            _print_rules(explain, form == "json")
        else:
            here.exit(int(_report_problems(path or (".",), form, **options)))
    except FinError as error:
        raise _CheckError(str(error)) from error


def _report_problems(
    paths: tuple[str, ...],
    form: str,
    *,
    tokenizer: str | None,
    context: int | None,
    long_share: float,
    no_rows: bool,
    ignore: tuple[str, ...],
) -> bool:
    """Check, print the findings, and return whether there are any."""
    from fin_plugins.checks.findings import all_rules, apply_suppressions
    from fin_plugins.checks.runner import CheckOptions, check_files, find_files

    options = CheckOptions(tokenizer, context, long_share, not no_rows)
    ignored = {_rule_code(code) for code in ignore}
    files, notes = find_files(paths)
    checked = check_files(files, options)
    notes += [*checked.notes, *checked.facts]
    for note in notes:
        click.echo(f"note: {note}", err=True)
    complete = _complete_rules(options, not checked.notes) - ignored
    findings = sorted(apply_suppressions(checked.findings, [file.name for file in files], all_rules(), complete))
    findings = [finding for finding in findings if finding.code not in ignored]
    _print_findings(findings, len(files), notes, form)
    return bool(findings)


def _complete_rules(options: "CheckOptions", all_rows: bool) -> set[str]:
    """Codes of the rules that have checked everything; only for these a suppression can be reported as unused."""
    from fin_plugins.checks.findings import all_rules

    without_tokenizer = "" if options.tokenizer else "T"
    incomplete = without_tokenizer if options.read_rows and all_rows else "DPT"
    return {code for code in all_rules() if code[0] not in incomplete}


def _print_findings(findings: "list[Finding]", files: int, notes: list[str], form: str) -> None:
    from fin_plugins.checks.findings import format_github, format_json, format_text

    match form:
        case "json":
            click.echo(format_json(findings, files, notes))
        case "github":
            for line in format_github(findings):
                click.echo(line)
        case _:
            for line in format_text(findings, files):
                click.echo(line)


def _print_rules(code: str | None, as_json: bool) -> None:
    from fin_plugins.checks.findings import all_rules

    chosen = [all_rules()[_rule_code(code)]] if code else list(all_rules().values())
    if as_json:
        click.echo(json.dumps([asdict(rule) for rule in chosen], ensure_ascii=False, indent=1))
        return
    for rule in chosen:
        click.echo(f"{rule.code}  {rule.title}")
        if code:
            click.echo("\n" + click.wrap_text(rule.why, click.get_current_context().max_content_width or 88))


def _rule_code(code: str) -> str:
    """The code in capital letters.

    Raises:
        FinError: no rule has this code.
    """
    from fin_plugins.checks.findings import all_rules
    from fin_plugins.common.validation import did_you_mean

    if code.upper() not in all_rules():
        raise FinError(f"{code}: no such rule{did_you_mean(code, all_rules())}; --list-rules lists them")
    return code.upper()

"""`fin task check`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from fin_plugins.common.errors import FinError

if TYPE_CHECKING:
    from fin_plugins.checks.model import Finding, Options


class _CannotLook(click.ClickException):
    """One line and exit status 2, as for a mistake on the command line."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"fin: error: {self.message}", err=True)


@click.command("check")
@click.argument("path", nargs=-1)
@click.option("--tokenizer", metavar="MODEL", help="Folder or hub name: look at the tokens of labels and prompts, too.")
@click.option("--context", type=click.IntRange(min=1), help="Tokens that the model reads. [default: its files say]")
@click.option(
    "--long-share",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Share of the rows that may be longer.",
)
@click.option("--no-rows", is_flag=True, help="Look at the files alone, not at the data.")
@click.option("--ignore", metavar="CODE", multiple=True, help="Leave a rule out; may be given several times.")
@click.option("--format", "form", type=click.Choice(["text", "json", "github"]), default="text", show_default=True)
@click.option("--explain", metavar="CODE", help="Print what a rule is about and why it matters.")
@click.option("--list-rules", is_flag=True, help="Print all rules.")
@click.pass_context
def command(here: click.Context, /, path: tuple[str, ...], explain: str | None, list_rules: bool, **asked: Any) -> None:
    """Report every problem in task, group and training files, each with file, line, key and the code of its rule.

    PATH is a file or a folder, by default the working directory. Nothing that a file names is run. A comment
    `# fin: ignore L03` on the line of a key lets that finding stand; above the first key, it is about the whole file.
    Exit status 0: no problem; 1: problems; 2: could not look.

    \b
    Examples:
      fin task check my_task.yaml
      fin task check . --tokenizer Qwen/Qwen3-0.6B --format github
      fin task check --explain L03
    """  # noqa: D301 - click wants the character itself
    try:
        if explain or list_rules:
            _print_rules(explain, asked["form"] == "json")
        else:
            here.exit(int(_problems(path or (".",), **asked)))
    except FinError as error:
        raise _CannotLook(str(error)) from error


def _problems(
    paths: tuple[str, ...],
    *,
    tokenizer: str | None,
    context: int | None,
    long_share: float,
    no_rows: bool,
    ignore: tuple[str, ...],
    form: str,
) -> bool:
    """Look, print, and say whether there are any."""
    from fin_plugins.checks.every import check
    from fin_plugins.checks.find import find
    from fin_plugins.checks.model import Options

    options = Options(tokenizer, context, long_share, not no_rows)
    left_out = {_known(code) for code in ignore}
    files, notes = find(paths)
    checked = check(files, options)
    notes += [*checked.notes, *checked.facts]
    for note in notes:
        _note(note)
    findings = _standing(checked.findings, [file.name for file in files], _codes(options, not checked.notes) - left_out)
    findings = [one for one in findings if one.code not in left_out]
    _print(findings, len(files), notes, form)
    return bool(findings)


def _codes(options: "Options", all_rows: bool) -> set[str]:
    """Rules that have looked at everything there is; the others' comments cannot be called idle."""
    from fin_plugins.checks.rules import rules

    no_tokens = "" if options.tokenizer else "T"
    not_looked = no_tokens if options.look_at_rows and all_rows else "DPT"
    return {code for code in rules() if code[0] not in not_looked}


def _standing(findings: "tuple[Finding, ...]", files: list[str], looked_at: set[str]) -> "list[Finding]":
    from fin_plugins.checks.ignores import kept
    from fin_plugins.checks.rules import rules

    return sorted(kept(findings, files, rules(), looked_at))


def _print(findings: "list[Finding]", files: int, notes: list[str], form: str) -> None:
    from fin_plugins.checks.formats import as_github, as_json, as_text

    match form:
        case "json":
            click.echo(as_json(findings, files, notes))
        case "github":
            for line in as_github(findings):
                click.echo(line)
        case _:
            for line in as_text(findings, files):
                click.echo(line)


def _print_rules(code: str | None, as_json: bool) -> None:
    from fin_plugins.checks.rules import rules

    chosen = [rules()[_known(code)]] if code else list(rules().values())
    if as_json:
        click.echo(json.dumps([asdict(rule) for rule in chosen], ensure_ascii=False, indent=1))
        return
    for rule in chosen:
        click.echo(f"{rule.code}  {rule.title}")
        if code:
            click.echo("\n" + click.wrap_text(rule.why, click.get_current_context().max_content_width or 88))


def _known(code: str) -> str:
    from fin_plugins.checks.rules import rules
    from fin_plugins.common.validation import did_you_mean

    if code.upper() not in rules():
        raise FinError(f"{code}: no such rule{did_you_mean(code, rules())}; --list-rules lists them")
    return code.upper()


def _note(message: str) -> None:
    click.echo(f"note: {message}", err=True)

"""`fin task schema`."""

from pathlib import Path

import click


@click.command("schema", hidden=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--write", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True, help="Folder.")
def command(write: Path) -> None:
    """Write the JSON Schemas that editors read, after a change of what YAML files may say."""
    from fin_plugins.authoring.schema import write_schemas

    for path in write_schemas(write):
        click.echo(path)

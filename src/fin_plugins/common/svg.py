"""Matplotlib figures as SVG files. The same figure gives the same bytes."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.atomic import write_file
from fin_plugins.common.errors import FinError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "fin-plugins",  # ids of clip paths are random otherwise
    "svg.fonttype": "none",  # text stays text: small, searchable, in the reader's own font
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


def write_svg(draw: "Callable[[], Figure]", file: Path, extra: str) -> None:
    """Draw a figure with matplotlib and write it as SVG, atomically.

    Args:
        draw: makes the figure; called with our style in force, whatever the user's matplotlib configuration says.
        file: the SVG file.
        extra: extra of this package that installs matplotlib.

    Raises:
        FinError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise FinError(f'matplotlib is not installed: `pip install "fin-plugins[{extra}]"`') from error
    content = io.StringIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        draw().savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    # matplotlib ends some lines with a space, which version control complains about.
    text = "".join(f"{row.rstrip()}\n" for row in content.getvalue().splitlines())
    try:
        write_file(file, text)
    except OSError as error:
        raise FinError(f"{file}: cannot be written ({error.strerror or error}): free some space") from error

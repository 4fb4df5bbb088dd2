"""Figures as SVG files: the same figure, the same bytes, whatever style the user's matplotlib has."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError
from fin_plugins.training.report.record import write_text

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


def write_svg(draw: "Callable[[], Figure]", path: Path, extra: str) -> None:
    """Write a figure, whole or not at all.

    Args:
        draw: makes the figure, in the style that holds.
        path: the file.
        extra: of this package, which installs matplotlib.

    Raises:
        FinError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise FinError(f'matplotlib is not installed: `pip install "fin-plugins[{extra}]"`') from error
    content = io.StringIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style would change the bytes
        matplotlib.rcParams.update(_STYLE)
        draw().savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    # matplotlib ends some lines with a space, which version control complains about.
    write_text(path, "".join(f"{row.rstrip()}\n" for row in content.getvalue().splitlines()))

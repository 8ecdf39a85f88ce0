"""Charts of the report: SVG text that takes its colours and its font from the page around it.

Each chart is one panel with a title of its own, so that a page can set as many side by side as its
width allows. The proportions are 4:3, except for ROC curves, whose legend stands beside them.
"""

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine, LayoutEngine

# Matplotlib knows no CSS. Each role is drawn in a colour that nothing else uses, which `_svg` then
# replaces by the page's variable of that name: one chart serves the light and the dark page.
_ROLES = {
    "ink": "#010101",
    "line": "#010102",
    "series-0": "#010103",
    "series-1": "#010104",
    "series-2": "#010105",
    "series-3": "#010106",
    "series-4": "#010107",
}
_SERIES = [colour for role, colour in _ROLES.items() if role.startswith("series")]
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": _ROLES["ink"],
    "axes.labelcolor": _ROLES["ink"],
    "xtick.color": _ROLES["ink"],
    "ytick.color": _ROLES["ink"],
    "axes.edgecolor": _ROLES["line"],
    "grid.color": _ROLES["line"],
    "grid.linewidth": 0.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
MARKED = 20  # values of a training chart, at most, that have markers
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))


def roc_chart(
    curves: dict[str, tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]], *, title: str
) -> str:
    """SVG of one ROC curve for each entry: false and true positive rates, from (0, 0) to (1, 1).

    Names stand in the legend; a dollar sign in them would begin a formula.
    """

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_ROLES["line"], linewidth=1)
        for index, (name, (x, y)) in enumerate(curves.items()):
            # As many colours as dashes and one: no two of twenty curves look alike.
            colour, dash = _SERIES[index % len(_SERIES)], _DASHES[index % len(_DASHES)]
            axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.8, label=name)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        axes.figure.legend(loc="outside right upper")

    return _svg(
        draw,
        title=title,
        size=(6.6, max(2.7, 0.5 + 0.19 * len(curves))),
        layout=ConstrainedLayoutEngine(),
    )


def training_chart(
    steps: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"], *, title: str
) -> str:
    """SVG of one value over the training steps.

    Values may be logged at some of the steps alone: a line joins them, and few have markers.
    """
    logged = np.isfinite(values)
    marker = "o" if logged.sum() <= MARKED else None

    def draw(axes: Axes) -> None:
        axes.plot(
            steps[logged],
            values[logged],
            color=_ROLES["series-0"],
            linewidth=1.2,
            marker=marker,
            markersize=3,
        )
        axes.set(xlabel="step")

    return _svg(draw, title=title)


def _svg(
    draw: Callable[[Axes], None],
    *,
    title: str,
    size: tuple[float, float] = (3.6, 2.7),
    layout: LayoutEngine | None = None,
) -> str:
    """Return the SVG of what `draw` puts on fresh axes below a title.

    The title also keeps the ids of a page's charts apart.
    """
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": title}):
        figure = Figure(figsize=size, layout=layout)
        axes = figure.add_subplot()
        axes.set_title(title, loc="left", fontsize=10, parse_math=False)
        draw(axes)
        text = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=no_metadata)
    svg = text.getvalue()
    for role, colour in _ROLES.items():
        svg = svg.replace(colour, f"var(--{role})")
    # Names of groups would recur in every chart of the page, where an id has to be unique.
    return re.sub(r'<g id="[^"]*">', "<g>", svg[svg.index("<svg") :])

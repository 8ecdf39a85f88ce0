"""One HTML file from a template in `templates/`, with styles and scripts inside it.

All text is escaped.
"""

import json
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from i3ad_jax.scoring.maps import SCORES

_TEMPLATES = Path(__file__).parent / "templates"


def templates_in(folder: Path) -> jinja2.Environment:
    """Return the templates of a folder, whose function `asset` inserts styles and scripts of it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = lambda name: Markup((folder / name).read_text(encoding="utf-8"))
    return environment


def render(template: str, **values: Any) -> str:
    """The page that a template makes of values, as text that UTF-8 can hold."""
    environment = templates_in(_TEMPLATES)
    environment.filters |= {"number": number, "setting": setting_text}
    environment.globals["score_labels"] = {name: s.label for name, s in SCORES.items()}
    html = environment.get_template(template).render(**values)
    # A file name that is not valid Unicode reaches here as surrogates.
    return html.encode("utf-8", errors="backslashreplace").decode("utf-8")


def number(value: float) -> str:
    """Format a number for people: four digits, with an exponent only at unusual sizes.

    The digits are significant ones.
    """
    text = f"{value:.4g}"
    return f"{value:.0f}" if "e+" in text and abs(value) < 1e12 else text


def setting_text(value: Any) -> str:
    """The value of a setting, as JSON has it; text without its quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

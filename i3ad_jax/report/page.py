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


def render(template: str, **values: Any) -> str:
    """The page that a template makes of values, as text that UTF-8 can hold."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "setting": setting_text}
    environment.globals |= {
        "asset": _asset,
        "score_labels": {name: s.label for name, s in SCORES.items()},
    }
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


def _asset(name: str) -> Markup:
    """A style sheet or a script, as it is."""
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))

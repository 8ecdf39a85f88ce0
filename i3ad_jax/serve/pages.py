"""Pages of the service: the one that scores images, and the documentation of the interface.

Each is one HTML file with its style and script inside, and loads nothing from elsewhere.
"""

import re
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from i3ad_jax.pictures import REGION, colour_stops
from i3ad_jax.report.page import templates_in

PAGE_POLICY = (
    "default-src 'none'; img-src blob:; connect-src 'self'; style-src 'unsafe-inline';"
    " script-src 'unsafe-inline'"
)
DOCUMENTATION_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
# Title and arguments of curl for each path; {url} is the address of the service.
_EXAMPLES = {
    "/score": (
        ("One image", "--data-binary @a.png {url}/score"),
        ("Several images", "-F images=@a.png -F images=@b.png {url}/score"),
        ("Outlines of the regions", "--data-binary @a.png '{url}/score?outlines=true'"),
        ("Heat map", "--data-binary @a.png '{url}/score?output=heatmap' --output heat.png"),
    ),
    "/health": (("Status", "{url}/health"),),
    "/metrics": (("All metrics", "{url}/metrics"),),
}
_TOKEN = '-H "Authorization: Bearer $I3AD_TOKEN" '
_TEMPLATES = Path(__file__).parent / "templates"


def upload_page() -> str:
    """Return the page that scores images."""
    return _render("page.html.jinja", region=REGION, colours=colour_stops())


def documentation(schema: dict[str, Any], *, url: str) -> str:
    """Return the page of the interface: endpoints, their options and answers, examples with curl.

    Args:
        schema: OpenAPI document of the service.
        url: address of the service in the examples.
    """
    operations = [
        {
            **operation,
            "method": method.upper(),
            "path": path,
            "examples": _examples(path, operation),
        }
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    models = schema["components"]["schemas"]
    return _render("docs.html.jinja", operations=operations, models=models, url=url)


def _examples(path: str, operation: dict[str, Any]) -> list[tuple[str, str]]:
    token = _TOKEN if "security" in operation else ""
    return [(title, f"curl {token}{rest}") for title, rest in _EXAMPLES[path]]


def _render(template: str, **values: Any) -> str:
    """Return the page that a template in `templates/` makes of values; all text is escaped."""
    environment = templates_in(_TEMPLATES)
    environment.filters |= {"type": _type, "code": _with_code}
    return environment.get_template(template).render(**values)


def _type(schema: dict[str, Any]) -> str:
    """Return the type of a value in a few words."""
    match schema:
        case {"$ref": str(reference)}:
            return reference.rpartition("/")[2]
        case {"anyOf": options}:
            return " or ".join(map(_type, options))
        case {"enum": values}:
            return " or ".join(values)
        case {"const": value}:
            return value
        case {"type": "array", "items": items}:
            return f"list of {_type(items)}"
        case {"type": "object", "additionalProperties": values}:
            return f"{_type(values)} by name"
        case _:
            return schema.get("type", "text")


def _with_code(text: str) -> Markup:
    """Return a text whose parts between backticks are code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))

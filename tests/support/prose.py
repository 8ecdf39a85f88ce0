"""Passages of prose in the project's files: pages, docstrings, help texts, messages, templates."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CODE = "`X`"
"""One word that no rule reads, for code, mathematics and the values of a template."""

_ENTRY = r"\s*([-*]|\*{0,2}\w+(, \w+)*: |\w+:$|\S.*? {3})"
"""Start of an argument, an item or a row of a list in a docstring."""


class Passage(NamedTuple):
    """A paragraph, an item of a list, a cell or a string, on one line and without code."""

    line: int
    kind: str
    """page, template, message, docstring, opening (its first block) or entry (of its sections)."""
    text: str


def passages(source: str, suffix: str) -> list[Passage]:
    """Return the passages of a Markdown page, Python module or template, by its suffix."""
    if suffix == ".py":
        found = [*_of_python(source)]
    elif suffix == ".md":
        found = [("page", *each) for each in _of_markdown(source)]
    else:
        found = [("template", *each) for each in _of_template(source)]
    plain = (Passage(line, kind, _plain(text)) for kind, line, text in found)
    return [each for each in plain if re.search("[A-Za-z]{2}", each.text.replace(CODE, ""))]


def sentences(text: str) -> list[str]:
    """Return the sentences of a passage; one that ends in an abbreviation joins the next."""
    return re.split(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<! al\.)\s+(?=[^a-z]|[\w, ]{1,60}: )", text)


def _plain(text: str) -> str:
    """Return a text on one line, without its mark of an item, its code and its links' targets."""
    text = re.sub(r"^\s*([-*>]|#+|\d+\.)\s+", "", text)
    text = re.sub(r"``.+?``|`[^`]*`|\$[^$]+\$", CODE, text, flags=re.DOTALL)
    text = re.sub(r"!?\[([^\]]*)\]\([^)\s]*\)", r"\1", text)
    text = re.sub(r"https?://\S+|--[a-z][\w-]*", CODE, text)
    return " ".join(text.replace("**", "").split())


def _of_markdown(text: str) -> Iterator[tuple[int, str]]:
    """Yield paragraphs, headings, items of lists and cells of tables with their first lines."""
    text = re.sub(r"^(```|~~~).*?^\1", _blank, text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", _blank, text, flags=re.DOTALL)
    yield from _blocks(text, starts=r"\s*([-*#|>]|\d+\.)")


def _blank(found: re.Match[str]) -> str:
    """Return the line breaks of a match."""
    return "\n" * found[0].count("\n")


def _blocks(text: str, *, starts: str) -> Iterator[tuple[int, str]]:
    """Yield the blocks between empty lines; a line that begins with `starts` begins one, too."""
    block: list[str] = []
    first = 1
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if block and (not line.strip() or re.match(starts, line)):
            yield first, "\n".join(block)
            block = []
        if re.match(r"\s*\|", line):
            yield from ((number, cell) for cell in line.strip().strip("|").split("|"))
        elif line.strip():
            first = first if block else number
            block.append(line)


def _of_python(source: str) -> Iterator[tuple[str, int, str]]:
    """Yield the blocks of docstrings, and strings of several words: messages and help."""
    nodes = [*ast.walk(ast.parse(source))]
    apart: set[int] = set()  # docstrings and parts of formatted strings
    for node in nodes:
        match node:
            case ast.Expr(value=ast.Constant(value=str(text)) as constant):
                apart.add(id(constant))
                kind = "opening"
                for line, block in _blocks(text, starts=_ENTRY):
                    words = re.sub(r"^\s*\*{0,2}\w+(, \w+)*: ", "", block)
                    kind = "entry" if words != block and kind != "opening" else kind
                    yield kind, node.lineno + line - 1, words
                    kind = "docstring"
            case ast.JoinedStr(values=values):
                apart |= {id(value) for value in values}
                parts = (x.value if isinstance(x, ast.Constant) else CODE for x in values)
                yield "message", node.lineno, "".join(map(str, parts))
    for node in nodes:
        match node:
            case ast.Constant(value=str(text)) if id(node) not in apart and " " in text:
                yield "message", node.lineno, text


def _of_template(text: str) -> Iterator[tuple[int, str]]:
    """Yield the texts between the tags of an HTML or Markdown template."""
    text = re.sub(r"<(script|style|svg)\b.*?</\1>|\{#.*?#\}", _blank, text, flags=re.DOTALL)
    text = re.sub(r"\{%.*?%\}", lambda found: _blank(found) or " ", text, flags=re.DOTALL)
    text = re.sub(r"\{\{.*?\}\}", lambda found: CODE + _blank(found), text, flags=re.DOTALL)
    text = re.sub(r"</?(b|em|strong|code|a|span|kbd)\b[^>]*>", "", text)
    text = re.sub(r"<[^>]*>", lambda found: "\0" + _blank(found), text)
    for found in re.finditer(r"[^\0]+", text):
        above = text.count("\n", 0, found.start())
        for line, block in _blocks(found[0], starts=r"\s*[-#|]"):
            yield above + line, block

"""The style of the prose: pages, docstrings, help texts, messages and templates.

The rules are those of the project's style guide that a pattern can check. They read no code,
mathematics, names of options or targets of links.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.prose import ROOT, Passage, passages, sentences

TESTS = ROOT / "tests"
FILES = sorted(
    [
        *ROOT.glob("*.md"),
        *(
            file
            for folder in ("i3ad_jax", "docs", "benchmarks", "experiments", "tests")
            for suffix in ("py", "md", "jinja", "html")
            for file in (ROOT / folder).rglob(f"*.{suffix}")
            if file != Path(__file__) and "results" not in file.parts  # recorded output
        ),
    ]
)
WORDS = 35  # of a sentence
COLUMNS = 100  # of a line, links apart
# No docstring starts with one of these, and no description of an argument with one of the others.
OPENINGS = "What|Whether|How|Where|Which|As|That|When|Why|Who|If|Of|So|To|By|For|From|In|On"
ENTRIES = "what|how|where|which|whose|that|why"
_NUMBER = r"(\d|half\b|two\b|three\b|four\b|five\b|six\b|seven\b|eight\b|nine\b|ten\b|twelve\b)"
_ARTICLE = r"(the |its |a |their |every )?"
_STEMS = (
    "initial|normal|standard|equal|minim|maxim|regular|visual|summar|organ|quant|serial|local|penal"
    "|real|recogn|general|synchron|vector|parallel|stabil|emphas|util|discret|categor|random"
)
# The words to use, and a pattern of those to avoid, in any case.
INSTEAD = {
    "about N": rf"\bsome (?={_NUMBER})",
    "again": r"\bonce more\b|\banew\b",
    "as many, N": r"\bso many\b",
    "at most, at least": r"\b(no|not) (more|less|fewer|later|earlier|larger|smaller|longer) than\b",
    "brightness normalisation": r"\blevell(ing|ed|s)\b",
    "calibration set": r"\bthose kept out\b|\bheld out of\b|\bkept out of (the )?training",
    "checksum": rf"\bdigests?\b|\bsums? of {_ARTICLE}(files?|weights)\b",
    "detected": r"\bfound out\b",
    "early exit, period-2 cycle": r"\bvanish(ed|es)?\b|\bback and forth\b|\bcomes? and goe?s?\b",
    "estimate": r"\bwhat an? [\w ]{1,20}\b(would|will) (take|make)\b",
    "except": r"\bbut for\b",
    "fixed": r"\bmend(s|ed|ing)?\b",
    "has no": r"\blacks? what\b",
    "instead of": r"\bin place of\b|\bin (its|their|his) place\b",
    "is": r"\b(lie|lies|lay|lain)\b",
    "is invalid": r"\bmakes? no sense\b|\bmake sense\b",
    "is not a": r"(?<!there )\b(is|are|was|were) no (?!longer|more|good)",
    "is valid": r"\bit holds(?=[.,;:]| (too|only|if|where|when|for|in|on)\b)",
    "missing, not found": r"\bthat (are|is) not there\b|\b(is|are) not there\b",
    "of each process": r"\beach other's\b|\bthe other's\b",
    "predates, is drawn, is recognised by": r"\bof before\b|\bas drawn\b|\btold by\b",
    "queue, valid rows": r"\bon (their|its) way\b|\brows that mean\b|\bmean something\b",
    "requires": r"\bwants\b",
    "resume, continue": r"\bto go on\b|\bgoes on\b|\bgoing on\b",
    "score, report": r"\b(say|says|said) of\b",
    "selected score": r"\bheadline score|\bverdict figure",
    "synthetic defect": r"\bplant(s|ed|ing)?\b|\bdamaged (image|square|tile|picture)",
    "the British spelling": rf"\b(analyz\w+|behavior\w*|center\w*|colors?|colored|grays?|favor\w*"
    rf"|neighbor\w*|labeled|labeling|modeled|artifacts?|({_STEMS})iz(e[ds]?|ing|ation))\b",
    "the ones that": r"\bthose that\b",
    "treated, passed": r"\bdealt\b|\bhands\b|\bhanded\b",
}


def findings(passage: Passage) -> Iterator[str]:
    """Yield a line for each rule that a passage breaks."""
    openings = {"opening": OPENINGS, "entry": ENTRIES}.get(passage.kind)
    if openings and (found := re.match(rf"({openings})\b", passage.text)):
        yield f"starts with {found[0]}; start with a verb or a noun"
    for instead, pattern in INSTEAD.items():
        for found in re.finditer(pattern, passage.text, re.IGNORECASE):
            yield f"{found[0]}; write: {instead}"
    for sentence in sentences(passage.text) if passage.kind != "message" else ():
        if (count := len(sentence.split())) > WORDS:
            yield f"{count} words in a sentence; at most {WORDS}: {sentence[:40]}"


def long_lines(file: Path) -> Iterator[str]:
    """Yield a line for each one of a Markdown page that is too wide."""
    for number, line in enumerate(file.read_text().split("\n"), 1):
        if len(re.sub(r"\]\([^)\s]*\)|https?://\S+", "]", line)) > COLUMNS:
            yield f"{file.relative_to(ROOT)}:{number}: at most {COLUMNS} columns"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_prose_follows_the_style(file: Path) -> None:
    found = [
        f"{file.relative_to(ROOT)}:{passage.line}: {finding}"
        for passage in passages(file.read_text(), file.suffix)
        if passage.kind != "message" or not file.is_relative_to(TESTS)
        for finding in findings(passage)
    ]
    assert [*found, *(long_lines(file) if file.suffix == ".md" else ())] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A training wants two images.", "wants; write: requires"),
        ("It takes some 12 KB.", "some ; write: about N"),
        ("The score lies\nbetween two others.", "lies; write: is"),
        ("Headline scores of planted defects.", "planted; write: synthetic defect"),
        ("The value is no whole number.", "is no ; write: is not a"),
        ("Normalize the gray image.", "gray; write: the British spelling"),
        (f"One{' more' * WORDS} word.", f"{WORDS + 2} words in a sentence"),
    ],
)
@pytest.mark.parametrize(
    ("suffix", "form"),
    [
        (".md", "# Title\n\n- An item.\n- {}"),
        (".md", "| Name | Meaning |\n| --- | --- |\n| `name` | {} |"),
        (".py", 'def f(x):\n    """Return x.\n\n    Args:\n        x: {}\n    """'),
        (".py", 'class Settings:\n    size: int = 3\n    """{}"""'),
        (".jinja", "<style>p {color: gray}</style>\n<p>{{ name }}</p><p>\n{}</p>"),
    ],
)
def test_bad_style_is_found_wherever_it_is(suffix: str, form: str, text: str, words: str) -> None:
    source = form.replace("{}", text)
    line = source[: source.index(text)].count("\n") + 1
    found = [(each.line, x) for each in passages(source, suffix) for x in findings(each)]
    assert any(number == line and x.startswith(words) for number, x in found), found
    assert [x for each in passages(form, suffix) for x in findings(each)] == []


@pytest.mark.parametrize(
    "source", ['raise InputError(f"{x}: is no file; give one")', 'print("this is no file")']
)
def test_messages_are_read(source: str) -> None:
    (passage,) = passages(source, ".py")
    assert [*findings(passage)] == ["is no ; write: is not a"]


@pytest.mark.parametrize("opening", ["What a file holds.", "Whether it is one.", "Of both runs."])
def test_a_docstring_starts_with_a_verb_or_a_noun(opening: str) -> None:
    first, second = passages(f'"""{opening}\n\n{opening}\n"""', ".py")
    assert len([*findings(first)]) == 1
    assert [*findings(second)] == []


@pytest.mark.parametrize(
    "text",
    [
        "Return a `value that wants nothing`, by `--levelling`, from [there](https://a.b/lies).",
        "There is no file; it is no longer needed, and no better one exists.",
        "one: the first of two. some: at random. It holds out two images, each seen once.",
    ],
)
def test_code_and_common_words_pass(text: str) -> None:
    assert [x for each in passages(text, ".md") for x in findings(each)] == []

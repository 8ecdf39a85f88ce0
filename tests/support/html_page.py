"""A page as a browser reads it: elements, texts, and checks that hold for every page."""

import re
from html.parser import HTMLParser

VOID = {"meta", "input", "img", "br", "link"}
INLINE = {"a", "b", "code", "output", "small", "span"}


class Page(HTMLParser):
    """Every element's attributes, every text, and whether all elements were closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.misnested: list[str] = []
        self._lines, self._prose = [""], [""]
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(attrs) == len(dict(attrs)), f"{tag} has an attribute twice"
        if tag not in VOID:
            self.open.append(tag)
        self._break_line(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.misnested.append(tag)
        self._break_line(tag)

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & {*self.open}:
            self.texts.append(data.strip())
            self._lines[-1] += data
            # a tick of a chart has the digits that tell it from the next
            if "svg" not in self.open:
                self._prose[-1] += "it" if "code" in self.open else data

    def _break_line(self, tag: str) -> None:
        if tag not in INLINE:
            self._lines.append("")
            self._prose.append("")

    @property
    def lines(self) -> list[str]:
        """The text as it is read, a line for each block."""
        return [text for line in self._lines if (text := " ".join(line.split()))]

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.elements if name in attributes]

    def named(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a tag that have these."""
        return [own for name, own in self.elements if name == tag and wanted.items() <= own.items()]

    def pictures(self) -> list[str]:
        styles = [re.findall(r"url\((.*?)\)", style) for style in self.attributes("style")]
        images = [own["href"] or "" for own in self.named("image")]
        return self.attributes("src") + images + [uri for uris in styles for uri in uris]

    def links(self) -> list[str]:
        """Return the addresses of all elements but pictures."""
        return [own["href"] or "" for tag, own in self.elements if tag != "image" and "href" in own]

    def check(self) -> None:
        """Asserts what holds of every page, whatever it shows."""
        assert self.open == []
        assert self.misnested == []
        ids = self.attributes("id")
        assert len(ids) == len({*ids})
        assert all(own.get("alt") for own in self.named("img"))
        labelled = {*self.attributes("for")}
        for tag in ("input", "select"):
            for own in self.named(tag):
                assert own.get("aria-label") or own["id"] in labelled, own
        assert all(target in ids for line in self.attributes("for") for target in line.split())
        assert {*self.attributes("aria-labelledby")} <= {*ids}
        assert {link[1:] for link in self.links() if link.startswith("#")} <= {*ids}
        assert all(picture.startswith("data:image/") for picture in self.pictures())
        for own in self.named("th"):
            assert own.get("scope"), own

    def check_prose(self) -> None:
        """Assert that no line lacks a space or shows a raw number, except inside `code`."""
        for text in self._prose:
            line = " ".join(text.replace("JavaScript", "scripts").split())
            assert not re.search(r"[),;!?][A-Za-z0-9]|[a-z]\(|[a-z][.:][A-Z]", line), line
            assert not re.search(r"[a-z][A-Z]|(?<!i)\d[a-z]{2}", line), line
            assert not re.search(r" [,.;:]|\( | \)|\bNone\b|\bnan\b", line), line
            assert not re.search(r"\d\.\d{5,}", re.sub(r"\b0\.0+", "0.", line)), line

"""What a browser would see of a page, without a browser."""

from html.parser import HTMLParser


class Reader(HTMLParser):
    """Tags with attributes, text, and the content of scripts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.scripts, self.words, self.headings = [], [], [], []
        self.feed(page.replace("<wbr>", ""))
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append((dict(attributes).get("type"), ""))

    def handle_data(self, data):
        tag = self.tags[-1][0] if self.tags else ""
        if tag == "script" and self.cdata_elem == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
            return
        self.words.append(data)
        if tag == "h2":
            self.headings.append(data.strip())

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    @property
    def policy(self):
        (found,) = [
            attributes["content"]
            for tag, attributes in self.tags
            if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        return dict(part.strip().split(" ", 1) for part in found.split(";"))

    def run(self):
        """The scripts that a browser would run."""
        return [text for kind, text in self.scripts if kind is None]

    def data(self):
        """What the figures hand to plotly.js."""
        return [text for kind, text in self.scripts if kind == "application/json" and text]

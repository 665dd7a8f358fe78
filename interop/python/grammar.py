"""A matcher for the ABNF (RFC 5234, RFC 7405) of docs/SPEC.md: what it says of a
text is yes or no. Prose values and incremental alternatives are not known."""

import re

TOKEN = re.compile(
    r'\s*(?:(?P<text>(?:%s)?"(?P<chars>[^"]*)")|%x(?P<low>[0-9A-F]+)(?:-(?P<high>[0-9A-F]+))?'
    r"|(?P<times>[0-9]*\*[0-9]*|[0-9]+)|(?P<rule>[A-Za-z][A-Za-z0-9-]*)|(?P<mark>[()\[\]/]))"
)
CORE = {
    "ALPHA": "%x41-5A / %x61-7A", "DIGIT": "%x30-39", "DQUOTE": "%x22", "LF": "%x0A",
}


class Grammar:
    def __init__(self, document):
        """Reads every block that is marked as abnf."""
        self.rules, self.used = {}, set()
        blocks = re.findall(r"^```abnf\n(.*?)^```$", document, re.M | re.S)
        lines = re.sub(r";.*", "", "\n".join(blocks))
        for name, definition in CORE.items():
            self.define(name, definition)
        for name, definition in re.findall(r"^([a-zA-Z0-9-]+) *=(.*(?:\n[ \t].*|\n)*)", lines, re.M):
            if name in self.rules:
                raise ValueError("two rules of one name: " + name)
            self.define(name, definition)

    def define(self, name, definition):
        tokens, at = [], 0
        definition = definition.strip()
        while at < len(definition):
            match = TOKEN.match(definition, at)
            if not match:
                raise ValueError(f"not ABNF in {name}: {definition[at:at + 30]!r}")
            tokens.append(match)
            at = match.end()
        self.rules[name] = self.alternatives(tokens)
        if tokens:
            raise ValueError("too many brackets in " + name)

    def undefined(self):
        return self.used - self.rules.keys()

    def matches(self, rule, text):
        return any(end == len(text) for end in self.rules[rule](text, 0))

    # Each of these takes tokens from the front and returns a function that yields
    # where a match of text from at can end, the longest first where it repeats.

    def alternatives(self, tokens):
        choices = [self.sequence(tokens)]
        while tokens and tokens[0]["mark"] == "/":
            tokens.pop(0)
            choices.append(self.sequence(tokens))
        return lambda text, at: (end for choice in choices for end in choice(text, at))

    def sequence(self, tokens):
        parts = []
        while tokens and tokens[0]["mark"] not in ("/", ")", "]"):
            parts.append(self.repetition(tokens))

        def match(text, at, index=0):
            if index == len(parts):
                yield at
                return
            for end in parts[index](text, at):
                yield from match(text, end, index + 1)

        return match

    def repetition(self, tokens):
        least, most = 1, 1
        if tokens[0]["times"] is not None:
            low, star, high = tokens.pop(0)["times"].partition("*")
            least, most = int(low or 0), int(high or 10**9) if star else int(low)
        element = self.element(tokens)
        if (least, most) == (1, 1):
            return element

        def match(text, at):
            """One way to repeat: each element as long as it can be."""
            ends = [at]
            while len(ends) <= most:
                end = next(element(text, ends[-1]), None)
                if end is None or end == ends[-1]:
                    break
                ends.append(end)
            yield from reversed(ends[least:])

        return match

    def element(self, tokens):
        token = tokens.pop(0)
        if token["text"]:
            chars = token["chars"]
            return lambda text, at: iter([at + len(chars)] if text.startswith(chars, at) else [])
        if token["low"]:
            low, high = int(token["low"], 16), int(token["high"] or token["low"], 16)
            return lambda text, at: iter([at + 1] if at < len(text) and low <= ord(text[at]) <= high else [])
        if token["rule"]:
            name = token["rule"]
            self.used.add(name)
            return lambda text, at: self.rules[name](text, at)
        inner = self.alternatives(tokens)
        tokens.pop(0)
        if token["mark"] == "(":
            return inner

        def optional(text, at):
            yield from inner(text, at)
            yield at

        return optional

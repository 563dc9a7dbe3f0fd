#!/usr/bin/env python3
"""Checks the language of the documentation and of the texts that users see.

    tests/prose.py docs         pages at the top and in docs/, files in deploy/: words, length of sentences, width of lines
    tests/prose.py code         Rust: first words of doc comments; words and sentences of messages and help texts
    tests/prose.py self-test    whether the check finds what it must find, and nothing else
    tests/prose.py all          all three

Prints `file:line: problem: text` for each problem and exits with 1 if there is one. docs/CONTRIBUTING.md has the rules.
"""

import re
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent

# Readers with English as a second language lose the thread in longer sentences. Writers aim at 25 words.
MAX_WORDS = 35
# A page is also read as text, in a terminal or beside its difference to an older one.
MAX_COLUMNS = 120
# A doc comment that begins so has no subject. A few are right, so a share is allowed rather than a list of exceptions.
MAX_PERCENT = 2
NO_SUBJECT = re.compile(r"\W*(what|how|why|who|whom|whose|where|whoever|whatever|it|those|of|for|as)\b", re.I)
OLD_WORDS = re.compile(r"\b(nobody|whom|whoever|somebody|anew|for\s+ever|is\s+had)\b", re.I)

ABBREVIATION = re.compile(r"\b(e\.g|i\.e|etc|vs|cf|approx)\.$", re.I)
SENTENCE_END = re.compile(r"[.!?][)\]\"'*_»”]*(?=\s|$)")


class Problem:
    def __init__(self, path, line, what, text):
        self.path, self.line, self.what, self.text = path, line, what, " ".join(text.split())

    def __str__(self):
        text = self.text if len(self.text) <= 160 else self.text[:157] + "..."
        return f"{self.path}:{self.line}: {self.what}: {text}"


# Sentences


def sentences(text):
    """The sentences of a paragraph, each with its offset. A semicolon or a colon ends none."""
    start = 0
    for end in SENTENCE_END.finditer(text):
        if not ABBREVIATION.search(text[start:end.start() + 1]):
            yield start, text[start:end.end()]
            start = end.end()
    yield start, text[start:]


def words(sentence):
    return sum(1 for word in sentence.split() if re.search(r"\w", word))


def line_of(text, offset, line):
    return line + text.count("\n", 0, offset)


def of_words(path, line, text):
    """The old words of a text that begins at a line."""
    for found in OLD_WORDS.finditer(text):
        around = text[max(0, found.start() - 60):found.end() + 60]
        word = " ".join(found[0].split())
        yield Problem(path, line_of(text, found.start(), line), f"the word '{word}'", around)


def of_text(path, line, text):
    """All problems of a paragraph that begins at a line."""
    yield from of_words(path, line, text)
    for start, sentence in sentences(text):
        count = words(sentence)
        if count > MAX_WORDS:
            start += len(sentence) - len(sentence.lstrip())
            what = f"a sentence of {count} words (at most {MAX_WORDS})"
            yield Problem(path, line_of(text, start, line), what, sentence)


# Markdown

FENCE = re.compile(r"\s*(```+|~~~+)")
# A heading, an item of a list, a row of a table and a comment each begin a text of their own.
ITEM = re.compile(r"\s*(?:[-*+]|(\d{1,9})[.)])\s+")
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.S)
LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\[\]]*\])*)\](?:\([^()\s]*\)|\[[^\[\]]*\])")
# The target of a link cannot be broken, so it does not count.
TARGET = re.compile(r"\]\([^()\s]*\)|<?https?://[^\s>)]*>?")


def keep_lines(text, found):
    return text + "\n" * found[0].count("\n")


def plain(text):
    """Markdown without its marks: an inline code span is one word, a link is its text."""
    text = CODE.sub(lambda found: keep_lines("Code", found), text)
    text = LINK.sub(lambda found: found[1], text)
    return re.sub(r"\*\*|__|(?<!\w)[*_]|[*_](?!\w)", "", text)


def cells(row):
    row = CODE.sub(lambda found: found[0].replace("|", " "), row).replace("\\|", " ")
    return row.strip().strip("|").split("|")


def of_markdown(path, source):
    source = re.sub(r"<!--.*?-->", lambda found: keep_lines("", found), source, flags=re.S)
    paragraph, begins, fence, last_item = [], 1, None, 0

    def item(line):
        """The mark of an item. A line of a paragraph may begin with a number and a full stop as well."""
        found = ITEM.match(line)
        number = found and found[1] and int(found[1])
        return found if not number or not paragraph or number in (1, last_item + 1) else None

    def flush():
        nonlocal paragraph
        text, paragraph = plain("\n".join(paragraph)), []
        return list(of_text(path, begins, text))

    for number, line in enumerate(source.split("\n"), 1):
        mark = FENCE.match(line)
        if fence or mark:
            yield from flush()
            if fence:
                # The content of a block is checked as well: comments of YAML, output of the program.
                yield from of_words(path, number, line)
                fence = None if mark and line.strip() == fence else fence
            else:
                fence = mark[1]
            continue
        if line.lstrip().startswith("|"):
            yield from flush()
            for cell in cells(line):
                yield from of_text(path, number, plain(cell))
            continue
        if len(TARGET.sub("]", line)) > MAX_COLUMNS:
            yield Problem(path, number, f"a line of {len(line)} columns (at most {MAX_COLUMNS})", line)
        heading = line.startswith("#")
        mark = item(line)
        if not line.strip() or heading or mark:
            yield from flush()
        if mark:
            last_item = int(mark[1] or 0)
        if line.strip():
            begins = begins if paragraph else number
            paragraph.append(line[mark.end():] if mark else line.lstrip("#> "))
        if heading:
            yield from flush()
    yield from flush()


def check_docs():
    problems = []
    pages = [*sorted(TOP.glob("*.md")), *sorted((TOP / "docs").glob("*.md"))]
    for page in pages:
        problems += of_markdown(page.relative_to(TOP), page.read_text())
    shown = [path for path in sorted((TOP / "deploy").rglob("*")) if path.is_file() and path.suffix != ".pem"]
    for path in shown:
        for number, line in enumerate(path.read_text().split("\n"), 1):
            problems += of_words(path.relative_to(TOP), number, line)
    print(f"docs: {len(pages)} pages, {len(shown)} files of deploy/, {len(problems)} problems")
    return problems


# Rust

TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
      | (?P<raw>\b[bc]?r(?P<hash>\#*)"(?P<verbatim>.*?)"(?P=hash))
      | (?P<string>(?:\b[bc])?"(?P<escaped>(?:\\.|[^"\\])*)")
      | (?P<char>\bb?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\])'|'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\])')""",
    re.S | re.X,
)
TEST_ITEM = re.compile(r"#\[(?:cfg\((?:any\(|all\()?test\b[^\]]*|test|tokio::test[^\]]*)\]")
TEST_FILE = re.compile(r"(?:\s|#\[[^\]]*\]|pub(?:\([^)]*\))?)*mod\s+(\w+)\s*;")
HELP = re.compile(r"#\[derive\([^)]*\b(?:Parser|Args|Subcommand|ValueEnum)\b[^)]*\)\]")
# Every sentence of more than MAX_WORDS has one of these; a table of words has none.
ENGLISH = re.compile(r"\b(a|an|the|is|are)\b|[,.;:]\s")


class Rust:
    """A source file in its parts: doc blocks, string literals, and the code without either."""

    def __init__(self, source):
        self.comments, self.strings, code, at = [], [], [], 0
        for token in TOKEN.finditer(source):
            code.append(source[at:token.start()])
            at = token.end()
            code.append(re.sub(r"[^\n]", " ", token[0]))
            line = source.count("\n", 0, token.start()) + 1
            if token["comment"]:
                self.comments.append((line, token[0]))
            elif token["raw"]:
                self.strings.append((token.start(), line, token["verbatim"]))
            elif token["string"]:
                self.strings.append((token.start(), line, unescaped(token["escaped"])))
        code.append(source[at:])
        self.code = "".join(code)

    def doc_blocks(self):
        """Runs of lines with `///` or with `//!`: the mark, the first line and the text of each."""
        blocks, last = [], None
        for line, comment in self.comments:
            mark = comment[:3]
            if mark not in ("///", "//!") or comment.startswith("////"):
                continue
            if last != (mark, line - 1):
                blocks.append((mark, line, []))
            blocks[-1][2].append(comment[3:])
            last = (mark, line)
        return [(mark, line, "\n".join(lines)) for mark, line, lines in blocks]

    def tests(self):
        """Returns the parts that are only for tests: ranges of this file, and names of modules in other files."""
        ranges, modules = [], []
        for attribute in TEST_ITEM.finditer(self.code):
            own = TEST_FILE.match(self.code, attribute.end())
            if own:
                modules.append(own[1])
            ranges.append((attribute.start(), self.end_of_item(attribute.end())))
        return ranges, modules

    def helps(self):
        """Returns the lines from which clap derives commands, options and values, with the comments in front."""
        found = []
        for derive in HELP.finditer(self.code):
            before = len(self.code[:derive.start()].rstrip().split("\n"))
            found.append((before + 1, self.code.count("\n", 0, self.end_of_item(derive.end())) + 1))
        return found

    def end_of_item(self, at):
        depth = 0
        for at in range(at, len(self.code)):
            depth += {"{": 1, "}": -1}.get(self.code[at], 0)
            if depth == 0 and self.code[at] in ";}":
                break
        return at


def unescaped(literal):
    """The text of a string literal, with `\\v` for each `\\n`: its other line breaks count the lines of the file."""
    return re.sub(r"\\(?:\r?\n[ \t]*|(.))", lambda found: {"n": "\v", "t": "\t"}.get(found[1], found[1])
                  if found[1] else "\n", literal, flags=re.S)


def of_doc_blocks(sources):
    """Returns the number of doc blocks, and those that begin without a subject."""
    blocks, bad = 0, []
    for path, rust in sources:
        for _, line, text in rust.doc_blocks():
            blocks += 1
            first = NO_SUBJECT.match(text)
            if first:
                bad.append(Problem(path, line, f"a doc comment that begins with '{first[1]}'", text))
    return blocks, bad


def of_messages(path, rust):
    """Problems of the texts that a file of the product gives to users."""
    tests, _ = rust.tests()
    for start, line, text in rust.strings:
        if not any(begin <= start < end for begin, end in tests):
            text = re.sub(r"\{[^{}]*\}", "Value", text)
            for offset, part in paragraphs(text):
                if ENGLISH.search(part) or OLD_WORDS.search(part):
                    yield from of_text(path, line + offset, part)
    helps = rust.helps()
    for mark, line, text in rust.doc_blocks():
        if mark == "///" and any(first <= line <= last for first, last in helps):
            for offset, part in paragraphs(text):
                yield from of_text(path, line + offset, plain(part))


def paragraphs(text):
    line = 0
    for part in re.split(r"(\n[ \t]*\n|\v)", text):
        yield line, part
        line += part.count("\n")


def test_files(top, sources):
    """The files of modules that are compiled for tests only, and of their submodules."""
    files = set()
    for path, rust in sources:
        own = path.name in ("lib.rs", "main.rs", "mod.rs")
        folder = path.parent if own else path.parent / path.stem
        for module in rust.tests()[1]:
            files.add(folder / f"{module}.rs")
            files.update(file.relative_to(top) for file in (top / folder / module).rglob("*.rs"))
    return files


def check_code():
    files = [file for folder in ("crates", "tests", "benches") for file in sorted((TOP / folder).rglob("*.rs"))
             if "target" not in file.relative_to(TOP).parts]
    sources = [(file.relative_to(TOP), Rust(file.read_text())) for file in files]
    blocks, bad = of_doc_blocks(sources)
    problems = bad if len(bad) * 100 > blocks * MAX_PERCENT else []
    tests = test_files(TOP, sources)
    messages = []
    for path, rust in sources:
        if path.parts[0] == "crates" and path.parts[2] == "src" and path not in tests:
            messages += of_messages(path, rust)
    print(f"code: {len(bad)} of {blocks} doc comments begin without a subject (at most {MAX_PERCENT} %), "
          f"{len(messages)} problems of messages and help texts")
    return problems + messages


# Self-test

LONG = "w " * (MAX_WORDS + 1)
SHORT = "w " * MAX_WORDS

# A page, and the problem of each line with one.
PAGES = [
    (f"{SHORT}.\n", []),
    (f"{LONG.strip()}.\n", ["1: a sentence"]),
    (f"{SHORT.strip()};\n{SHORT.strip()}.\n", ["1: a sentence"]),
    (f"{SHORT.strip()}.\n{SHORT.strip()}.\n", []),
    (f"{SHORT.strip()} e.g. `{LONG}`.\n", ["1: a line", "1: a sentence"]),
    ("Short.\n" + "\n".join(LONG.split()) + ".\n", ["2: a sentence"]),
    (f"{SHORT.strip()[2:]}\n`{LONG.strip()}`\n", []),
    ("\n".join(f"- {word}" for word in LONG.split()) + "\n", []),
    ("\n".join(f"{number + 1}. {word}" for number, word in enumerate(LONG.split())) + "\n", []),
    (f"{SHORT}1970 to\n2026. The next.\n", ["1: a sentence"]),
    (f"```\n{LONG}\n```\n", []),
    ("```\nnobody # x\n```\nfine\n", ["2: the word 'nobody'"]),
    (f"| {SHORT} | {SHORT} |\n", []),
    (f"| a | {LONG} |\n", ["1: a sentence"]),
    (f"# A heading\n{SHORT}\n## Another\n{SHORT}\n", []),
    ("It is kept for\never. To whom.\n", ["1: the word 'for ever'", "2: the word 'whom'"]),
    ("It is had <!-- nobody --> there, and somebodyelse.\n", ["1: the word 'is had'"]),
    ("x" * 120 + "\n" + "x" * 121 + "\n", ["2: a line"]),
    (f"See [this]({'x' * 120}).\n", []),
    (f"[{'x' * 121}](y)\n", ["1: a line"]),
]

RUST = '''
//! Of a file.
//!
//! It is one block.

/// How it begins.
/// It is the same block.
fn a<'a>(x: &'a str, c: char) -> bool { c == '"' || x == "nobody" }
//// What is no doc comment
/// Forms begin well, as `For` does not.
const B: &str = r#"a "whoever" of // two
lines anew"#; // somebody in a comment
const C: &str = "one \\
    for \\
    ever {nobody} fine\\nnobody";
#[cfg(test)]
mod tests { const D: &str = "nobody"; #[test] fn x() { "whom"; } }
const E: &str = "whom";
#[cfg(test)]
mod elsewhere;
'''
RUST_DOCS = (3, [2, 6])
RUST_MESSAGES = ["8: the word 'nobody'", "11: the word 'whoever'", "12: the word 'anew'", "14: the word 'for ever'",
                 "15: the word 'nobody'", "18: the word 'whom'"]
HELP_TEXT = """const X: u8 = 1;
/// Nobody reads it.
#[derive(Debug, clap::Args)]
struct X {
    /// To whom.
    x: u8,
}
/// Nobody.
fn x() {}
const WORDS: &str = "%s";
""" % LONG


def self_test():
    problems = []

    def expect(case, found, wanted):
        if found != wanted:
            problems.append(Problem("tests/prose.py", 1, f"self-test '{case}': found {found}, not", str(wanted)))

    def short(found):
        return [re.match(r"(\d+: (?:a \w+|the word '[^']*'))", f"{it.line}: {it.what}")[1] for it in found]

    for page, wanted in PAGES:
        found = sorted(of_markdown("page", page), key=lambda problem: problem.line)
        expect(page[:30], sorted(short(found)), sorted(wanted))
    rust = Rust(RUST)
    blocks, bad = of_doc_blocks([(Path("a.rs"), rust)])
    expect("doc blocks", (blocks, [problem.line for problem in bad]), RUST_DOCS)
    expect("messages", short(of_messages("a.rs", rust)), RUST_MESSAGES)
    expect("modules of tests", test_files(TOP, [(Path("x/a.rs"), rust)]), {Path("x/a/elsewhere.rs")})
    expect("help", short(of_messages("a.rs", Rust(HELP_TEXT))), ["2: the word 'Nobody'", "5: the word 'whom'"])
    expect("no help", short(of_messages("a.rs", Rust(HELP_TEXT.replace("Args", "Other")))), [])
    print(f"self-test: {len(PAGES) + 5} cases, {len(problems)} problems")
    return problems


def run_parts(parts, usage):
    """Runs the checks of the part that the command line names, or all of them. Returns the exit status."""
    arguments = sys.argv[1:]
    if len(arguments) > 1 or not set(arguments) <= {*parts, "all"}:
        print(usage)
        return 64
    wanted = parts if arguments in ([], ["all"]) else arguments
    problems = [problem for part in wanted for check in parts[part] for problem in check()]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(run_parts({"self-test": [self_test], "docs": [check_docs], "code": [check_code]}, __doc__))

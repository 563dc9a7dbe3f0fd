#!/usr/bin/env python3
"""Checks that the pages name what exists: links and their anchors, files, tests, commands, and code that a page quotes.

    tests/references.py              all pages
    tests/references.py self-test    whether the check finds what it must find

A path in backticks may leave out folders in front (`client/judge.rs`). A code block whose first line is `// file: PATH`
must stand in that file, apart from indentation. Of a command the script, the steps of tests/run.sh, the packages of
cargo and the filter of tests (`client_reply::on`) must exist; the end-to-end tests check those of portcullis. Prints
`file:line: problem` and exits with 1 if there is one.
"""

import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent

LINK = re.compile(r"\]\(([^()\s:]*)\)")
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
PATH = re.compile(r"[\w.*{},-]+(?:/[\w.*{},-]+)*/?$")
FOLDERS = ("crates/", "tests/", "benches/", "docs/", "deploy/")
SOURCES = (".rs", ".py", ".sh", ".expected")
# The name of a test is a sentence. Keys are shorter, metrics begin in two ways, and directives of other programs are words
# of a string in the code that reads them.
TEST = re.compile(r"(?!portcullis_|process_)[a-z0-9]+(?:_[a-z0-9]+){3,}$")
VARIABLE = re.compile(r"[A-Z_]+=\S*$")
QUOTE = re.compile(r"^```rust\n// file: (\S+)\n(.*?)^```", re.S | re.M)
FENCED = re.compile(r"^( *)(```+|~~~+).*?^\1\2", re.S | re.M)


class Tree:
    """The files under version control, and the parts of them that pages refer to."""

    def __init__(self, files, texts):
        self.files, self.texts = files, texts
        self.steps = set(re.findall(r"^step_(\w+)\(\)", texts.get("tests/run.sh", ""), re.M))
        manifests = [text for file, text in texts.items() if file.endswith("Cargo.toml")]
        self.packages = set(re.findall(r'^name = "([\w-]+)"', "\n".join(manifests), re.M))
        rust = "\n".join(text for file, text in texts.items() if file.endswith(".rs"))
        self.tests = set(re.findall(r"\bfn (\w+)", rust))
        self.words = set(re.findall(r'"(\w+)"', rust))

    @classmethod
    def of(cls, top):
        listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=top, text=True)
        files = [file for file in listed.splitlines() if (top / file).is_file()]
        readable = (".rs", ".md", ".sh", ".py", ".toml")
        return cls(files, {file: (top / file).read_text() for file in files if file.endswith(readable)})

    def has(self, path):
        pattern = re.escape(path.rstrip("/")).replace(r"\*", "[^/]*")
        pattern = re.sub(r"\\\{([^{}]*)\\\}", lambda found: f"(?:{found[1].replace(',', '|')})", pattern)
        found = re.compile(rf"(?:^|/){pattern}(?:/|$)")
        return any(found.search(file) for file in self.files)

    def anchors(self, page):
        text = FENCED.sub("", self.texts[page])
        headings = re.findall(r"^#+ (.*)$", text, re.M)
        return {anchor(heading) for heading in headings} | set(re.findall(r'<a id="([^"]*)"', text))


def anchor(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def of_command(line, tree):
    """Returns the parts of a page's command that do not exist."""
    for command in re.split(r"&&|\|", re.split(r"(?:^|\s)#", line)[0]):
        words = [word for word in command.split() if not VARIABLE.match(word)]
        program, arguments = (words[0], words[1:]) if words else ("", [])
        if program.startswith(FOLDERS) and not tree.has(program):
            yield f"no such file: {program}"
        if program == "tests/run.sh":
            yield from (f"no such step: {step}" for step in arguments if step not in tree.steps)
        if program == "cargo":
            for option, name in zip(arguments, arguments[1:]):
                if option == "-p" and name not in tree.packages:
                    yield f"no such package: {name}"
            for part in [part for word in arguments for part in word.split("::") if "::" in word and part]:
                if part not in tree.tests and not tree.has(f"{part}.rs"):
                    yield f"no such test: {part}"


def of_page(page, tree):
    text = tree.texts[page]
    blank = FENCED.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)

    def problem(offset, what):
        return f"{page}:{text.count(chr(10), 0, offset) + 1}: {what}"

    for link in LINK.finditer(blank):
        file, _, wanted = link[1].partition("#")
        target = str((Path("/") / page).parent.joinpath(file).resolve().relative_to("/")) if file else page
        if file and not any(known == target or known.startswith(f"{target}/") for known in tree.files):
            yield problem(link.start(), f"no such file: {link[1]}")
        elif wanted and wanted not in tree.anchors(target):
            yield problem(link.start(), f"no such heading: {link[1]}")
    for span in SPAN.finditer(blank):
        word = span[1].split()[0]
        if PATH.match(word) and word.endswith(SOURCES) and not word.startswith(FOLDERS) and not tree.has(word):
            yield problem(span.start(), f"no such file: {word}")
        yield from (problem(span.start(), what) for what in of_command(span[1], tree))
        if TEST.match(span[1]) and span[1] not in tree.tests | tree.words:
            yield problem(span.start(), f"no such test: {span[1]}")
    for block in FENCED.finditer(text):
        at = block.start()
        for line in block[0].splitlines(keepends=True):
            yield from (problem(at, what) for what in of_command(line, tree))
            at += len(line)
    for quote in QUOTE.finditer(text):
        if quote[1] not in tree.texts:
            yield problem(quote.start(), f"no such file: {quote[1]}")
        elif level(quote[2]) not in level(tree.texts[quote[1]]):
            yield problem(quote.start(), f"not what {quote[1]} says")


def level(code):
    """Code without its indentation."""
    return "\n".join(line.strip() for line in code.splitlines())


def self_test():
    page = (
        "# One `heading`, two\n"
        "[a](b.md#second) [b](#one-heading-two) [c](../crates)\n"
        "`x/y.rs` `y.rs` `crates/x/{y,z}.rs` `tests/run.sh unit`\n"
        "```\nX=1 tests/run.sh unit # all\ncargo build -p x && cargo test -p x -- y::a_test_that_is_there\n```\n"
        "`a_test_that_is_there` `a_directive_of_nginx`\n"
        "```rust\n// file: crates/x/y.rs\nfn a_test_that_is_there() {\n```\n"
    )
    wrong = (
        "[a](c.md)\n[b](b.md#third)\n[c](#none)\n`x/z.rs`\n`tests/none.sh unit`\n`no_test_of_this_name`\n"
        "```rust\n// file: crates/x/y.rs\nfn other() {}\n```\n"
        "```\n`none.rs`\ntests/run.sh none\ncargo test -p y\ncargo test -p x -- y::none\n```\n"
        "`/api/x` `10.0.0.0/8` `client_output_buffer` `process_cpu_seconds_total`\n"
    )
    texts = {"docs/a.md": page, "docs/b.md": "## Second\n", "docs/w.md": wrong, "tests/run.sh": "step_unit() {\n",
             "Cargo.toml": 'name = "x"\n',
             "crates/x/y.rs": "mod x {\n    fn a_test_that_is_there() {\n    }\n}\n", "crates/x/w.rs": '"a_directive_of_nginx"', "crates/x/z/a.rs": ""}
    tree = Tree(list(texts), texts)
    found = [line.split(":")[1] for line in of_page("docs/w.md", tree)]
    problems = [f"self-test: {line}" for line in of_page("docs/a.md", tree)]
    if found != ["1", "2", "3", "4", "5", "6", "13", "14", "15", "7"]:
        problems.append(f"self-test: problems in lines {found}")
    return problems


def main(arguments):
    problems = self_test()
    if arguments != ["self-test"]:
        tree = Tree.of(TOP)
        pages = [file for file in tree.files if re.match(r"(?:docs/)?[^/]*\.md$", file)]
        problems += [problem for page in pages for problem in of_page(page, tree)]
        print(f"references of {len(pages)} pages: {len(problems)} problems")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
"""Checks the structure of the Rust code: imports, the size of files and the size of functions.

    tests/structure.py crates       a crate that depends on one above it; top modules of a crate that import in a circle
    tests/structure.py modules      an import in crates/proxy against the order of its modules
    tests/structure.py systems      code for one operating system outside the modules that are for it
    tests/structure.py sizes        files of more than 600 lines, functions of more than 60
    tests/structure.py self-test    whether the check finds what it must find, and nothing else
    tests/structure.py all          all five

The order of crates and of modules is read from docs/architecture.md. Test code may import what it needs, but has the same sizes.
Prints `file:line: problem: text` for each problem and exits with 1 if there is one.
"""

import re
import sys
from collections import Counter
from pathlib import Path

from prose import TOP, Problem, Rust, run_parts, test_files

# A reader keeps one file in mind, and sees one function on a screen.
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60
# A file is a table of data where so many of its lines of code have one shape. It is read by search, not as a whole.
MIN_TABLE_PERCENT = 90

ARCHITECTURE = Path("docs/architecture.md")
ROOT = "lib.rs"


# Imports

PATH = re.compile(r"(?<![\w:])(?:\$\s*crate|crate|super|self)(?:\s*::\s*\w+)+")
USE = re.compile(r"(?:\bpub\s*(?:\([^)]*\)\s*)?)?\buse\s+([^;]+);")
USE_TOKEN = re.compile(r"[{},*]|::|\w+")
INLINE_MODULE = re.compile(r"\bmod\s+(\w+)\s*\{")
MACRO = re.compile(r"#\[macro_export\](?:\s|#\[[^\]]*\])*macro_rules!\s*(\w+)")


def use_paths(tree):
    """The paths of a `use` tree, each as its segments and the name that it gives."""
    tokens = USE_TOKEN.findall(tree)
    at = 0

    def branch(prefix):
        nonlocal at
        path, name, found = list(prefix), None, []
        while at < len(tokens) and tokens[at] not in ",}":
            token = tokens[at]
            at += 1
            if token == "{":
                while at < len(tokens) and tokens[at] != "}":
                    found += branch(path)
                    at += at < len(tokens) and tokens[at] == ","
                at += 1
            elif token == "as":
                name = tokens[at]
                at += 1
            elif token != "::":
                path.append(token)
        if found:
            return found
        if len(path) > 1 and path[-1] == "self":
            path.pop()
        return [(path, name or path[-1])] if path else []

    return branch([])


class Module:
    """A source file of a crate: its code without tests, and its path in the crate."""

    def __init__(self, path, rust, inside):
        self.path = path
        parts = inside.with_suffix("").parts
        self.place = [] if parts in (("lib",), ("main",)) else [part for part in parts if part != "mod"]
        code = list(rust.code)
        for begin, end in rust.tests()[0]:
            code[begin:end + 1] = [char if char == "\n" else " " for char in code[begin:end + 1]]
        self.code = "".join(code)
        self.inline = [(found.start(), end_of_block(self.code, found.end() - 1), found[1])
                       for found in INLINE_MODULE.finditer(self.code)]

    def line(self, at):
        return self.code.count("\n", 0, at) + 1

    def absolute(self, path, at):
        """The segments of a path below the crate's root; `None` for a path that begins with another crate."""
        place = self.place + [name for begin, end, name in self.inline if begin < at < end]
        if path[0] == "crate":
            place = []
        elif path[0] not in ("self", "super"):
            return None
        for segment in path:
            if segment == "super":
                place = place[:-1]
            elif segment not in ("crate", "self"):
                place = [*place, segment]
        return place

    def imports(self):
        """All paths: the position and, for a path into the crate, the segments of each."""
        uses = list(USE.finditer(self.code))
        for use in uses:
            for path, _ in use_paths(use[1]):
                yield use.start(), self.absolute(path, use.start())
        for found in PATH.finditer(self.code):
            if not any(use.start() <= found.start() < use.end() for use in uses):
                path = re.sub(r"[\s$]", "", found[0]).split("::")
                yield found.start(), self.absolute(path, found.start())


class Crate:
    """The top modules of a crate and the imports between them."""

    def __init__(self, folder, modules):
        self.folder = folder
        self.names = {module.place[0] for module in modules if module.place}
        roots = [module for module in modules if not module.place]
        self.exports, self.globs = {}, []
        for root in roots:
            self.read_exports(root)
        for module in modules:
            for found in MACRO.finditer(module.code):
                self.exports.setdefault(found[1], {self.top(module)})
        self.edges = {}
        for module in modules:
            for at, path in self.paths(module):
                for target in self.targets(path):
                    if target != self.top(module):
                        self.edges.setdefault((self.top(module), target), []).append((module.path, module.line(at)))

    @staticmethod
    def top(module):
        return module.place[0] if module.place else ROOT

    def paths(self, module):
        """Returns the paths into the crate that a module uses. A re-export of the root counts only where it is used."""
        if module.place:
            yield from ((at, path) for at, path in module.imports() if path is not None)
            return
        for at, path in module.imports():
            if path is not None and not module.code.startswith("pub", at):
                yield at, path
        # The root names its modules and its re-exports directly.
        passed_on = re.compile(r"\bpub\b[^;{]*\buse\b[^;]*;")
        code = passed_on.sub(lambda use: re.sub(r"[^\n]", " ", use[0]), module.code)
        for found in re.finditer(r"(?<!:)(?<!mod )\b\w+", code):
            is_path = re.match(r"\s*::", code[found.end():])
            if (is_path and found[0] in self.names) or found[0] in self.exports:
                yield found.start(), [found[0]]

    def read_exports(self, root):
        for use in USE.finditer(root.code):
            for path, name in use_paths(use[1]) if use[0].startswith("pub") else []:
                path = [segment for segment in path if segment not in ("crate", "self")]
                if path[0] in self.names and path[-1] == "*":
                    self.globs.append(path[0])
                else:
                    self.exports[name] = {path[0]} & self.names

    def targets(self, path):
        """Returns the top modules that a path leads to: itself, or the module of the root's re-export."""
        if not path:
            return {ROOT}
        if path[0] in self.names:
            return {path[0]}
        if path[0] in self.exports:
            return self.exports[path[0]]
        return set(self.globs) or {ROOT}


def end_of_block(code, at):
    depth = 0
    for at in range(at, len(code)):
        depth += {"{": 1, "}": -1}.get(code[at], 0)
        if depth == 0:
            break
    return at


def circles(edges):
    """Sets of nodes that reach each other."""
    reach = {}
    for start in {node for edge in edges for node in edge}:
        seen, todo = set(), [start]
        while todo:
            node = todo.pop()
            for begin, end in edges:
                if begin == node and end not in seen:
                    seen.add(end)
                    todo.append(end)
        reach[start] = seen
    groups = {frozenset(other for other in reach[node] if node in reach[other]) for node in reach if node in reach[node]}
    return sorted(sorted(group) for group in groups)


def of_circles(crate):
    for group in circles(crate.edges):
        yield Problem(crate.folder, 1, "modules import each other in a circle", ", ".join(group))
        for (begin, end), places in sorted(crate.edges.items()):
            if begin in group and end in group:
                path, line = places[0]
                yield Problem(path, line, "part of a circle", f"{begin} imports {end} ({len(places)} times)")


def of_order(crate, order):
    """Imports of a module that stands later in the order."""
    for name in sorted(crate.names - set(order)):
        yield Problem(ARCHITECTURE, 1, f"the order of modules does not have a module of {crate.folder}", name)
    for name in sorted(set(order) - crate.names):
        yield Problem(ARCHITECTURE, 1, f"the order of modules has what is no module of {crate.folder}", name)
    rank = {name: number for number, name in enumerate(order)}
    for (begin, end), places in sorted(crate.edges.items()):
        if begin in rank and end in rank and rank[begin] < rank[end]:
            for path, line in places:
                yield Problem(path, line, "an import against the order of modules", f"{begin} imports {end}")


# The documented order

CHAIN = re.compile(r"`(\w+(?: <- \w+)+)`")
MODULES = re.compile(r"^<!-- tests/structure\.py reads the block below\. -->\s*^```\w*\n(.*?)^```", re.S | re.M)


def crate_order(page):
    """Pairs of crates of which the second may depend on the first, by chains such as `resp <- acl <- session`."""
    below = set()
    for chain in CHAIN.findall(page):
        names = chain.split(" <- ")
        below.update(zip(names, names[1:]))
    while True:
        more = {(low, high) for low, middle in below for other, high in below if middle == other}
        if more <= below:
            return below
        below |= more


def module_order(page):
    """The modules in the order of the block: each imports only those before it. Two spaces begin a line's explanation."""
    block = MODULES.search(page)
    return [name for line in (block[1] if block else "").splitlines() for name in re.split(r" {2,}", line)[0].split()]


# Sizes

FUNCTION = re.compile(r"\bfn\s+(\w+)")


def functions(code):
    """All functions with a body: name, line and number of lines."""
    for found in FUNCTION.finditer(code):
        depth, at = 0, found.end()
        while at < len(code) and not (depth == 0 and code[at] in ";{"):
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(code[at], 0)
            at += 1
        if at < len(code) and code[at] == "{":
            lines = code.count("\n", found.start(), end_of_block(code, at)) + 1
            yield found[1], code.count("\n", 0, found.start()) + 1, lines


def is_table(code):
    """Whether nearly all lines of code have one shape, with any words and numbers in it."""
    shapes = Counter(re.sub(r"\w+", "w", line.strip()) for line in code.split("\n") if line.strip())
    return bool(shapes) and max(shapes.values()) * 100 >= sum(shapes.values()) * MIN_TABLE_PERCENT


def of_sizes(path, source, rust):
    lines = source.count("\n")
    if lines > MAX_FILE_LINES and not is_table(rust.code):
        yield Problem(path, 1, f"a file of {lines} lines", f"at most {MAX_FILE_LINES}")
    for name, line, lines in functions(rust.code):
        if lines > MAX_FUNCTION_LINES:
            yield Problem(path, line, f"a function of {lines} lines", f"{name} (at most {MAX_FUNCTION_LINES})")


# Operating systems

SYSTEM = re.compile(r"\bcfg(?:_attr)?!?\s*\((?=[^\]\n]*\b(?:unix|windows|target_os|target_family)\b)[^\n]*")
# A module whose whole file is for one system, or has another file for Windows.
SYSTEM_MODULE = re.compile(r"cfg(?:\((?:unix|windows)\)|_attr\(windows, path = [^)]*\))\]\s*(?:pub\s*(?:\([^)]*\)\s*)?)?mod\s+\w+;")
# The modules that have such a module below them: sockets, signals, the service manager, events of the file system.
SYSTEM_PARENTS = {"crates/proxy/src/" + name for name in (
    "app.rs", "cli/service.rs", "control/watch.rs", "listener.rs", "net.rs", "net/held.rs", "net/socket.rs")}
SYSTEM_PLACE = re.compile(r"crates/\w+/src/platform(?:\.rs|/)")


def of_systems(path, source, rust):
    if SYSTEM_PLACE.match(str(path)):
        return
    tests = rust.tests()[0]
    for found in SYSTEM.finditer(rust.code):
        if any(begin <= found.start() <= end for begin, end in tests):
            continue
        # The text of strings is not in `code`, and an attribute may have a path.
        if str(path) in SYSTEM_PARENTS and SYSTEM_MODULE.match(source, found.start()):
            continue
        line = rust.code.count("\n", 0, found.start()) + 1
        yield Problem(path, line, "code for one operating system: move it into platform", found[0].strip())


# The checks

def read_crate(folder):
    sources = [(file.relative_to(TOP), Rust(file.read_text())) for file in sorted((folder / "src").rglob("*.rs"))]
    tests = test_files(TOP, sources)
    inside = folder.relative_to(TOP) / "src"
    return Crate(folder.relative_to(TOP), [Module(path, rust, path.relative_to(inside))
                                           for path, rust in sources if path not in tests])


def dependencies(manifest):
    """The names in the table of dependencies that a crate has besides those of its tests."""
    table = re.search(r"^\[dependencies\]\n(.*?)(?=^\[|\Z)", manifest, re.S | re.M)
    return re.findall(r"^([\w-]+)", table[1], re.M) if table else []


def check_crates():
    below = crate_order((TOP / ARCHITECTURE).read_text())
    problems = [] if below else [Problem(ARCHITECTURE, 1, "no order of crates", "such as `resp <- acl <- session`")]
    folders = sorted(file.parent for file in (TOP / "crates").glob("*/Cargo.toml"))
    named = {re.search(r'^name = "(.*)"', (folder / "Cargo.toml").read_text(), re.M)[1]: folder.name for folder in folders}
    imports = 0
    for folder in folders:
        manifest = folder / "Cargo.toml"
        for name in dependencies(manifest.read_text()):
            if name in named and (named[name], folder.name) not in below:
                problems.append(Problem(manifest.relative_to(TOP), 1, "a dependency against the order of crates", name))
        crate = read_crate(folder)
        imports += len(crate.edges)
        problems += of_circles(crate)
    print(f"crates: {len(folders)} crates, {imports} pairs of modules with an import, {len(problems)} problems")
    return problems


def check_modules():
    order = module_order((TOP / ARCHITECTURE).read_text())
    problems = list(of_order(read_crate(TOP / "crates/proxy"), order))
    print(f"modules: {len(order)} modules of crates/proxy, {len(problems)} problems")
    return problems


def check_systems():
    files = [file for folder in sorted((TOP / "crates").glob("*/src")) for file in sorted(folder.rglob("*.rs"))]
    sources = [(file.relative_to(TOP), Rust(file.read_text())) for file in files]
    tests = test_files(TOP, sources)
    problems = []
    for path, rust in sources:
        if path not in tests:
            problems += of_systems(path, (TOP / path).read_text(), rust)
    print(f"systems: {len(files)} files, {len(problems)} problems")
    return problems


def check_sizes():
    files = [file for folder in ("crates", "tests", "benches") for file in sorted((TOP / folder).rglob("*.rs"))
             if "target" not in file.relative_to(TOP).parts]
    problems = []
    for file in files:
        source = file.read_text()
        problems += of_sizes(file.relative_to(TOP), source, Rust(source))
    print(f"sizes: {len(files)} files, {len(problems)} problems")
    return problems


# Self-test

USES = [
    ("crate::a", [(["crate", "a"], "a")]),
    ("crate::{a::{b, self}, c as d, e::*}", [
        (["crate", "a", "b"], "b"), (["crate", "a"], "a"), (["crate", "c"], "d"), (["crate", "e", "*"], "*")]),
    ("super::super::x::{Y, }", [(["super", "super", "x", "Y"], "Y")]),
    ("self::x", [(["self", "x"], "x")]),
]

# The files of a crate.
FILES = {
    "lib.rs": """
//! See [`crate::high`].
mod low; mod middle; mod high; mod macros;
pub use high::High; pub use middle::middle;
use middle::Middle;
pub fn start() { low::run(); }
#[cfg(test)]
mod tests;
""",
    "low.rs": """
use std::fmt; // use crate::high;
const TEXT: &str = "crate::high::X";
mod inner { use super::super::middle::X; use super::own; }
#[cfg(test)]
mod tests { use crate::high::Low; }
""",
    "middle.rs": "use crate::{macros, High as Top};\n",
    "middle/deep.rs": "fn a() { super::super::low::run() }\n",
    "high.rs": "fn b() { crate::twice!(crate::start(), self::x, super::low::run) }\n",
    "macros.rs": "#[macro_export]\n#[doc(hidden)]\nmacro_rules! twice { () => { $crate::low::run() } }\n",
}
EDGES = {
    ("lib.rs", "low"): 6, ("lib.rs", "middle"): 5, ("low", "middle"): 4, ("middle", "macros"): 1, ("middle", "high"): 1,
    ("middle", "low"): 1, ("high", "macros"): 1, ("high", "lib.rs"): 1, ("high", "low"): 1, ("macros", "low"): 3,
}
PAGE = """
Dependencies: `a <- b <- c`, and `b <- d`.

<!-- tests/structure.py reads the block below. -->
```text
low macros      numbers
middle          one text
high
```
"""
SYSTEMS = """
#[cfg_attr(windows, path = "a/windows.rs")]
mod a;
#[cfg(unix)]
pub(crate) mod b;
#[cfg(unix)]
fn c() { if cfg!(windows) {} }
#[cfg(target_os = "linux")]
mod d { }
#[cfg(all(test, unix))]
mod tests;
"""
LONG = "".join("    x();\n" for _ in range(MAX_FUNCTION_LINES - 1))
FUNCTIONS = f"""
trait A {{ fn declared(x: [u8; 4]); fn short(&self) -> [u8; 2] {{ [0; 2] }} }}
fn at_the_limit<'a>(x: &'a str, y: char) -> bool {{
{LONG.replace("x", "'{'; y", 1)[:-9]}}}
async fn too_long(
    x: fn(u8) -> u8,
) {{
{LONG}}}
"""
TABLE = "use x;\n" + "".join(f"/// Doc.\nconst C{n}: X = X::new({n});\n" for n in range(MAX_FILE_LINES))
NO_TABLE = "".join(f"const C{n}: X = X::new({n});\n{'x.' * n}y();\n" for n in range(MAX_FILE_LINES))


def self_test():
    problems = []

    def expect(case, found, wanted):
        if found != wanted:
            problems.append(Problem("tests/structure.py", 1, f"self-test '{case}': found {found}, not", str(wanted)))

    for tree, wanted in USES:
        expect(tree, use_paths(tree), wanted)
    crate = Crate(Path("x"), [Module(Path(name), Rust(source), Path(name)) for name, source in FILES.items()])
    expect("imports", {edge: places[0][1] for edge, places in crate.edges.items()}, EDGES)
    expect("circles", circles(crate.edges), [["high", "lib.rs", "low", "macros", "middle"]])
    expect("no circle", circles({("a", "b"): 1, ("b", "c"): 1, ("a", "c"): 1}), [])
    expect("crates", crate_order(PAGE),
           {("a", "b"), ("b", "c"), ("a", "c"), ("b", "d"), ("a", "d")})
    expect("dependencies", dependencies('[package]\nname = "x"\n[dependencies]\n# a\na.workspace = true\n'
                                        'b-c = "1"\n\n[dev-dependencies]\nd = "1"\n'), ["a", "b-c"])
    expect("modules", module_order(PAGE), ["low", "macros", "middle", "high"])
    expect("order", [problem.text for problem in of_order(crate, module_order(PAGE))],
           ["low imports middle", "middle imports high"])
    expect("unknown module", [problem.text for problem in of_order(crate, ["low", "macros", "middle", "other"])],
           ["high", "other", "low imports middle"])
    rust = Rust(SYSTEMS)
    expect("systems", [problem.line for problem in of_systems(Path("crates/proxy/src/app.rs"), SYSTEMS, rust)], [6, 7, 8])
    expect("no parent", len(list(of_systems(Path("crates/proxy/src/tls.rs"), SYSTEMS, rust))), 5)
    expect("platform", list(of_systems(Path("crates/proxy/src/platform/x.rs"), SYSTEMS, rust)), [])
    expect("functions", [problem.text for problem in of_sizes("a.rs", FUNCTIONS, Rust(FUNCTIONS))],
           [f"too_long (at most {MAX_FUNCTION_LINES})"])
    expect("table", list(of_sizes("a.rs", TABLE, Rust(TABLE))), [])
    expect("no table", len(list(of_sizes("a.rs", NO_TABLE, Rust(NO_TABLE)))), 1)
    print(f"self-test: {len(USES) + 14} cases, {len(problems)} problems")
    return problems


if __name__ == "__main__":
    sys.exit(run_parts({"self-test": [self_test], "crates": [check_crates], "modules": [check_modules],
                        "systems": [check_systems],
                        "sizes": [check_sizes]}, __doc__))

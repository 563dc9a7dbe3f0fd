//! Commands in the documentation exist, and one page shows the real output of the binary.

mod commands;
mod log_lines;
mod moves;
mod pages;

use std::fs;
use std::path::{Path, PathBuf};

use e2e::gate::portcullis;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the paths of the README and of all pages in `docs/` and `docs/recipes`.
fn pages() -> Vec<PathBuf> {
    let listed = ["docs", "docs/recipes"].map(|folder| fs::read_dir(top().join(folder)).expect("a folder"));
    let mut pages: Vec<_> =
        listed.into_iter().flatten().map(|entry| entry.expect("an entry").path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.push(top().join("README.md"));
    pages
}

/// Returns the lines in the fenced blocks of a page.
fn fenced(page: &str) -> impl Iterator<Item = &str> {
    let mut is_inside = false;
    page.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_inside ^= is_fence;
        is_inside && !is_fence
    })
}

/// Returns the arguments of a line that runs portcullis, without the brackets around optional parts. `None` for other
/// lines.
fn arguments(line: &str) -> Option<Vec<String>> {
    let command = line.split(" #").next()?.trim_start_matches("$ ");
    let command = command.rsplit(" | ").next()?.trim().trim_start_matches("target/release/");
    let command = command.trim_start_matches("new/usr/bin/");
    let words = words(command.strip_prefix("portcullis ")?);
    Some(words.iter().map(|word| word.trim_matches(['[', ']']).to_owned()).collect())
}

/// Splits a line at spaces, but not inside single quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut is_quoted, mut is_new) = (Vec::new(), false, true);
    for character in line.chars() {
        match character {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => is_new = true,
            _ => {
                if std::mem::take(&mut is_new) {
                    words.push(String::new());
                }
                words.last_mut().expect("begun").push(character);
            }
        }
    }
    words
}

#[test]
fn commands_of_the_documentation_exist() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for (line, arguments) in fenced(&text).filter_map(|line| Some((line, arguments(line)?))) {
            let depth = if arguments[0] == "groups" { 2 } else { 1 };
            let subcommand = arguments.iter().take(depth).map(String::as_str);
            let output = portcullis(directory.path(), subcommand.chain(["--help"]));
            assert!(output.status.success(), "{}: no such command: {line}", page.display());
            let help = String::from_utf8_lossy(&output.stdout).into_owned();
            for option in arguments.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(option.as_str()), "{}: no option {option}: {line}", page.display());
            }
            if arguments[0] == "import" && arguments[1] != "FORMAT" {
                assert!(help.contains(&format!("- {}:", arguments[1])), "{}: {line}", page.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen} commands");
}

/// The commands of a page, which run in a scratch directory. `<!-- file: NAME -->` stands above each block that is a
/// file. A block that begins with `$ portcullis` shows a command and its output. A block that begins with `# Imported`
/// shows the configuration that the last import wrote.
struct Session<'d> {
    directory: &'d Path,
}

impl Session<'_> {
    /// Returns the page with the current output of its commands.
    fn play(&self, page: &str) -> String {
        let mut lines = page.lines();
        let mut played = Vec::new();
        let mut file = None;
        while let Some(line) = lines.next() {
            played.push(line.to_owned());
            if let Some(name) = line.strip_prefix("<!-- file: ") {
                match name.strip_suffix(" -->") {
                    Some(name) => file = Some(name),
                    None => {
                        let hidden: Vec<_> = lines.by_ref().take_while(|line| *line != "-->").collect();
                        self.write(name, &hidden);
                        played.extend(hidden.into_iter().map(str::to_owned));
                        played.push("-->".to_owned());
                    }
                }
            } else if line.starts_with("```") {
                let body: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
                if let Some(name) = file.take() {
                    self.write(name, &body);
                }
                played.extend(self.block(&body));
                played.push("```".to_owned());
            }
        }
        played.join("\n") + "\n"
    }

    fn write(&self, name: &str, lines: &[&str]) {
        fs::write(self.directory.join(name), lines.join("\n") + "\n").expect("writable");
    }

    fn block(&self, body: &[&str]) -> Vec<String> {
        let first = body.first().copied().unwrap_or_default();
        if first.starts_with("$ portcullis ") {
            let commands = body.iter().filter(|line| line.starts_with("$ "));
            return commands.flat_map(|command| self.run(command)).collect();
        }
        if first.starts_with("# Imported") {
            let made = fs::read_to_string(self.directory.join("portcullis.yaml")).expect("an import");
            return made.trim_end().lines().map(str::to_owned).collect();
        }
        body.iter().map(|line| (*line).to_owned()).collect()
    }

    /// Runs the command. Returns the lines of the command and its output.
    fn run(&self, command: &str) -> Vec<String> {
        let arguments = arguments(command).expect("a command");
        let (arguments, into) = match arguments.iter().position(|word| word == ">") {
            Some(at) => (&arguments[..at], Some(&arguments[at + 1])),
            None => (&arguments[..], None),
        };
        let output = portcullis(self.directory, arguments);
        let mut printed = String::from_utf8(output.stdout).expect("UTF-8");
        if let Some(file) = into {
            fs::write(self.directory.join(file), &printed).expect("writable");
            printed.clear();
        }
        printed += &String::from_utf8(output.stderr).expect("UTF-8");
        std::iter::once(command).chain(printed.lines()).map(str::to_owned).collect()
    }
}

/// With `PORTCULLIS_GOLDEN=write` the test writes the page again. Read the difference before you commit it.
#[test]
fn the_page_on_migration_shows_real_output() {
    let played = assert_shows_real_output("docs/migration.md");
    assert!(played.contains("not carried over"), "the page shows no import with a message");
}

#[test]
fn the_recipes_show_real_output() {
    for recipe in ["jump-host", "cloud-redis", "connector", "kubernetes"] {
        assert_shows_real_output(&format!("docs/recipes/{recipe}.md"));
    }
}

/// Plays a page. Returns it with the current output of its commands.
fn assert_shows_real_output(name: &str) -> String {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let path = top().join(name);
    let page = fs::read_to_string(&path).expect("the page");
    let played = Session { directory: directory.path() }.play(&page);
    if std::env::var("PORTCULLIS_GOLDEN").is_ok_and(|mode| mode == "write") {
        fs::write(&path, &played).expect("writable");
    } else {
        for (number, (shown, real)) in page.lines().zip(played.lines()).enumerate() {
            assert_eq!(shown, real, "{name}:{}", number + 1);
        }
        assert_eq!(page, played);
    }
    played
}

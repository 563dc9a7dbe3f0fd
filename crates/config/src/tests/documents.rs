//! Loads the configurations of the documentation and of the examples as they stand.
//!
//! A fenced block of a page under `docs/` or of the README is a configuration when its first line is `listeners:` or
//! `# file: portcullis.yaml`, and the groups of one when that is `groups:`. One that begins with `# file: NAME` is a file
//! that the page's configurations refer to. Secrets are not read.

use super::*;

pub(super) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Regular files below a directory with one of these extensions.
pub(super) fn below(dir: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(below(&path, extensions));
        } else if path.extension().is_some_and(|extension| extensions.iter().any(|known| extension == *known))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The configurations below a directory, with their texts. Lists, manifests and compose files are something else.
pub(super) fn configurations(dir: &Path) -> Vec<(PathBuf, String)> {
    let files = below(dir, &["yaml", "yml"]).into_iter();
    let files = files.map(|path| (std::fs::read_to_string(&path).unwrap(), path));
    let is_configuration = |text: &String| text.lines().any(|line| line.starts_with("listeners:"));
    files.filter(|(text, _)| is_configuration(text)).map(|(text, path)| (path, text)).collect()
}

/// The rest of a configuration that consists of groups only.
const REST: &str = "\
listeners: [{name: a, bind: '127.0.0.1:1', upstream: main, allow: [unix]}]
upstreams: {main: {address: '127.0.0.1:6379'}}
";

/// The named blocks of a page, with the line each begins at.
pub(super) fn blocks(page: &str) -> Vec<(usize, String, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if !line.starts_with("```") {
            continue;
        }
        let body: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let (name, head) = match body.first() {
            Some(&"listeners:") => ("portcullis.yaml", ""),
            Some(&"groups:") => ("portcullis.yaml", REST),
            Some(first) => match first.strip_prefix("# file: ") {
                Some(name) => (name.trim(), ""),
                None => continue,
            },
            None => continue,
        };
        // JSON has no comments, so the name of the file is not part of it.
        let skipped = usize::from(name.ends_with(".json"));
        blocks.push((at + 2, name.to_owned(), format!("{head}{}\n", body[skipped..].join("\n"))));
    }
    blocks
}

fn loads(path: &Path, shown: &str) {
    if let Err(problems) = load(path, &LoadOptions::new().without_secrets().without_host()) {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{shown}:\n{}", problems.join("\n"));
    }
}

#[test]
fn configurations_in_the_documentation_load() {
    let mut pages = below(&root().join("docs"), &["md"]);
    pages.push(root().join("README.md"));
    // The pages show how to make one.
    let certificate = std::fs::read_to_string(root().join("deploy/examples/tls/server.pem")).unwrap();
    let mut loaded = 0;
    for page in pages {
        let Ok(text) = std::fs::read_to_string(&page) else { continue };
        let (configs, others): (Vec<_>, Vec<_>) =
            blocks(&text).into_iter().partition(|(_, name, _)| name == "portcullis.yaml");
        for (line, name, body) in configs {
            let files = Files::new().with("server.pem", &certificate).with("ca.pem", &certificate);
            let files = others.iter().fold(files, |files, (_, name, body)| files.with(name, body));
            let files = files.with(&name, body);
            loads(&files.path(&name), &format!("{}:{line}", page.display()));
            loaded += 1;
        }
    }
    assert!(loaded > 0, "no page has a configuration");
}

#[test]
fn configurations_under_deploy_load() {
    let configurations = configurations(&root().join("deploy"));
    assert!(!configurations.is_empty());
    for (path, _) in configurations {
        loads(&path, &path.display().to_string());
    }
}

//! Names that the configuration takes.

/// The longest name that the loader takes.
pub(super) const LONGEST_NAME: usize = 63;

/// Returns the name as `[a-z][a-z0-9_-]*`, and not as a word that some YAML programs read as something else.
pub(super) fn sanitised(name: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(clean).collect();
    let name = name.trim_matches('-');
    let word = matches!(name, "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null");
    let name = if word || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        format!("x-{name}")
    } else {
        name.to_owned()
    };
    name.chars().take(LONGEST_NAME).collect::<String>().trim_end_matches('-').to_owned()
}

/// Returns the name, with a number where it is taken.
pub(super) fn unique(name: &str, taken: &[&str]) -> String {
    let numbered = (2_u64..).map(|number| {
        let suffix = format!("-{number}");
        let stem: String = name.chars().take(LONGEST_NAME - suffix.len()).collect();
        stem + &suffix
    });
    std::iter::once(name.to_owned())
        .chain(numbered)
        .find(|name| !taken.contains(&name.as_str()))
        .unwrap_or_default()
}

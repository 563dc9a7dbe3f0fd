//! Names that are valid in the configuration.

/// The longest name in characters that the loader accepts.
pub(super) const LONGEST_NAME: usize = 63;

/// Returns the name in the form `[a-z][a-z0-9_-]*`. Words that some YAML programs read as a boolean or null get a
/// prefix.
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

/// Returns the name, with a number at the end if the name is already taken.
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

//! The paths to addresses in a JSON file, for hints.

use std::fmt;

use portcullis_acl::Cidr;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{LONGEST, Select, is_key};

/// A hint with more paths is not read.
const MOST_FOUND: usize = 4;
/// Strings that are looked at. The lists of one provider have some ten thousand.
const MOST_STRINGS: usize = 100_000;

/// Returns paths that lead to addresses, in the order of the file.
pub(crate) fn addresses(text: &str) -> Vec<String> {
    let mut search = Search { found: Vec::new(), strings: 0 };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // The error says that enough was found, or where the JSON ends.
    let _ = Node { path: String::new(), search: &mut search }.deserialize(&mut deserializer);
    search.found
}

struct Search {
    found: Vec<String>,
    strings: usize,
}

/// A value and the path to it.
struct Node<'s> {
    path: String,
    search: &'s mut Search,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let Search { found, strings } = self.search;
        *strings += 1;
        if *strings > MOST_STRINGS || found.len() == MOST_FOUND {
            return Err(E::custom("enough"));
        }
        if !found.contains(&self.path) && text.parse::<Cidr>().is_ok() && Select::parse(&self.path).is_some()
        {
            found.push(self.path);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let path = format!("{}[]", self.path);
        while items.next_element_seed(Node { path: path.clone(), search: self.search })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            let dot = if self.path.is_empty() { "" } else { "." };
            if is_key(&key) && self.path.len() + key.len() < LONGEST {
                let path = format!("{}{dot}{key}", self.path);
                entries.next_value_seed(Node { path, search: self.search })?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
}

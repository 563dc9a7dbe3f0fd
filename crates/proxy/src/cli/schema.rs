//! `portcullis schema`: the JSON Schema of the configuration.

use std::process::ExitCode;

use portcullis_config::SCHEMA;

use super::print;

/// Options of `schema`.
#[derive(clap::Args, Clone, Debug)]
pub struct SchemaArgs {}

/// Prints the schema to standard output. Exit 0; 1 when it cannot be written.
pub fn run(_: &SchemaArgs) -> ExitCode {
    print(SCHEMA.as_bytes())
}

//! Takes the pages of the error codes into the binary, which `firn explain` prints.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut table = String::from("[\n");
    for entry in fs::read_dir(&folder).expect("docs/errors is read") {
        let path = entry.expect("docs/errors is read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name
            .strip_prefix("FIRN-")
            .and_then(|name| name.strip_suffix(".md"));
        if let Some(number) = number {
            let path = path.display().to_string();
            writeln!(table, "({number}, include_str!({path:?})),").expect("a text grows");
        }
    }
    table.push(']');
    let folder = env::var_os("OUT_DIR").expect("cargo says where to write");
    let file = Path::new(&folder).join("pages.rs");
    fs::write(file, table).expect("the table is written");
}

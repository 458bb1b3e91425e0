//! The README's table beside a controller is what the example measures, today.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../examples/flagship.rs"]
mod flagship;

#[test]
fn the_table_of_the_readme_is_what_is_measured() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for line in flagship::table() {
        assert!(readme.contains(&line), "the README lacks: {line}");
    }
}

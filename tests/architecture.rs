//! The arrows between modules, held by a walk through the sources.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has sources");
    found
}

/// Code without comments and without its tests, which may do more.
fn code(text: &str) -> String {
    let until_tests = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = until_tests.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn nowhere(folder: &str, forbidden: &[&str]) {
    for (path, text) in sources(folder) {
        let code = code(&text);
        for word in forbidden {
            assert!(!code.contains(word), "{} has `{word}`", path.display());
        }
    }
}

#[test]
fn the_core_has_no_io_clock_randomness_or_async() {
    nowhere(
        "decide",
        &[
            "std::fs",
            "std::net",
            "std::io",
            "std::env",
            "std::thread",
            "std::process",
            "std::time::Instant",
            "SystemTime",
            "Instant::now",
            "Timestamp::now",
            "Zoned::now",
            "tokio",
            "async ",
            ".await",
            "getrandom",
            "rand::",
            "hyper",
            "tracing",
            "static mut",
            "Mutex",
            "RwLock",
            "thread_local",
        ],
    );
}

#[test]
fn the_core_uses_nothing_of_the_shell() {
    for (path, text) in sources("decide") {
        let uses = code(&text).match_indices("crate::").map(|(at, _)| text_after(&text, at)).collect::<Vec<_>>();
        for used in uses {
            assert!(used.starts_with("decide"), "{} uses crate::{used}", path.display());
        }
    }
}

#[test]
fn flagds_files_are_translated_by_the_core_alone() {
    for (path, text) in sources("flagd") {
        let uses = code(&text).match_indices("crate::").map(|(at, _)| text_after(&text, at)).collect::<Vec<_>>();
        assert!(uses.iter().all(|used| used.starts_with("decide")), "{} uses {uses:?}", path.display());
    }
    nowhere(
        "flagd",
        &["std::fs", "std::net", "std::io", "std::env", "tokio", "async ", "Timestamp::now", "SystemTime"],
    );
}

fn text_after(text: &str, at: usize) -> String {
    // Positions of code and text agree only roughly; the word itself is looked up in the code.
    let code = code(text);
    code[at + "crate::".len()..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn arrows_between_the_shells_modules_point_one_way() {
    nowhere("proxy", &["crate::control", "crate::store", "crate::admin", "crate::cli", "crate::demo"]);
    nowhere("upstream", &["crate::proxy", "crate::control", "crate::subject", "crate::decide::guard"]);
    nowhere("subject", &["crate::proxy", "crate::control", "crate::config", "crate::telemetry", "tokio"]);
    nowhere("store", &["crate::proxy", "crate::control", "crate::subject", "crate::admin"]);
    nowhere("telemetry", &["crate::proxy", "crate::control", "crate::store", "crate::admin"]);
    nowhere("config", &["crate::proxy", "crate::control", "crate::store", "crate::subject"]);
    nowhere("control", &["crate::proxy", "crate::admin", "crate::cli"]);
    nowhere("admin", &["crate::proxy", "crate::cli", "crate::upstream"]);
}

#[test]
fn what_decides_in_simulations_asks_nobody_for_the_time() {
    for folder in ["rollout", "simulate"] {
        nowhere(
            folder,
            &["clock::", "Instant::now", "SystemTime", "tokio", "getrandom", "std::thread", "crate::control"],
        );
    }
}

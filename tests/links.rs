//! Links of the documents lead somewhere: to files that are there, and to headings in them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

/// All documents of the repository.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        if entry.is_dir() && !name.starts_with('.') && !["target", "node_modules"].contains(&name.as_str()) {
            documents(&entry, found);
        } else if name.ends_with(".md") {
            found.push(entry);
        }
    }
}

/// The text without its blocks of commands and outputs.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// What follows `](` up to the closing parenthesis.
fn links(text: &str) -> Vec<String> {
    let parts = text.split("](").skip(1).filter_map(|part| part.split_once(')'));
    parts.map(|(link, _)| link.to_owned()).filter(|link| !link.contains(char::is_whitespace)).collect()
}

/// How a heading is named in links: in small letters, spaces as hyphens, without other signs.
fn anchor(heading: &str) -> String {
    let heading = heading.trim().to_lowercase();
    let kept = heading.chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        letter if letter.is_alphanumeric() || letter == '-' || letter == '_' => Some(letter),
        _ => None,
    });
    kept.collect()
}

fn has_heading(text: &str, wanted: &str) -> bool {
    let named = [format!("<a id=\"{wanted}\""), format!("<a name=\"{wanted}\"")];
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).any(|heading| heading == wanted)
        || named.iter().any(|name| text.contains(name.as_str()))
}

#[test]
fn links_lead_to_what_is_there() {
    let mut found = Vec::new();
    documents(Path::new(env!("CARGO_MANIFEST_DIR")), &mut found);
    assert!(found.len() > 15, "{found:?}");
    let (mut looked_at, mut broken) = (0, Vec::new());
    for document in found {
        let text = prose(&std::fs::read_to_string(&document).unwrap());
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            looked_at += 1;
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            let is_there = match (target.exists(), heading) {
                (there, "") => there,
                (there, heading) => {
                    there && has_heading(&prose(&std::fs::read_to_string(&target).unwrap_or_default()), heading)
                }
            };
            if !is_there {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(looked_at > 100, "{looked_at} links");
}

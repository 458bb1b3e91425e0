//! What `docs/reference/` says is what the code says, today.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../examples/decisions.rs"]
mod decisions;
#[path = "../examples/reference.rs"]
mod reference;

#[test]
fn the_reference_is_what_the_code_says() {
    for (name, text) in reference::files() {
        let written = std::fs::read_to_string(reference::folder().join(name)).unwrap_or_default();
        let differs = text.lines().zip(written.lines()).find(|(now, then)| now != then);
        assert!(
            text == written,
            "docs/reference/{name} is not what the code says: `cargo run --example reference` writes it anew; \
             the first line that differs: {differs:?}"
        );
    }
}

/// A family that the reference's own Serin does not bring forth would be missing unseen.
#[test]
fn every_metric_of_the_code_is_in_the_reference() {
    let code = include_str!("../src/telemetry/exposition.rs");
    let written = std::fs::read_to_string(reference::folder().join("metrics.md")).unwrap();
    let names = code.split('"').filter(|word| word.starts_with("serin_") && !word.contains(' '));
    let missing: Vec<&str> = names.filter(|name| !written.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(code.contains("serin_requests"), "names stand in the code as they are");
}

#[test]
fn the_reference_is_the_same_every_time() {
    for ((name, one), (_, other)) in reference::files().into_iter().zip(reference::files()) {
        assert_eq!(one, other, "{name}");
    }
}

/// A link that leads nowhere, or to another part than it says, is worse than none.
#[test]
fn every_link_inside_the_reference_leads_to_one_place() {
    for (name, text) in reference::files() {
        let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
        let anchors: Vec<String> =
            headings.map(|line| reference::anchor(line.trim_start_matches('#').trim_start())).collect();
        for anchor in &anchors {
            assert_eq!(anchors.iter().filter(|other| *other == anchor).count(), 1, "{name}: {anchor} stands twice");
        }
        let links: Vec<&str> = text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        assert!(name == "metrics.md" || links.len() > 20, "{name}");
        for link in links {
            assert!(anchors.iter().any(|anchor| anchor == link), "{name}: #{link} leads nowhere");
        }
    }
}

#[test]
fn the_picture_of_decisions_is_what_is_drawn_now() {
    let written = std::fs::read_to_string(decisions::file()).unwrap_or_default();
    assert!(written == decisions::picture(), "`cargo run --example decisions` draws docs/decisions.svg anew");
}

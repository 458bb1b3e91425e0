//! A large configuration is taken up in time. `cargo bench --bench scale` prints the figures.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::time::Duration;

use common::scale::measure;

#[test]
fn a_thousand_services_and_ten_thousand_flags_start_and_reload_in_time() {
    let measured = measure();
    assert!(measured.start < Duration::from_secs(2), "{measured:?}");
    assert!(measured.reload < Duration::from_secs(1), "{measured:?}");
}

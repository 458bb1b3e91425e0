//! What a large configuration costs: start, reload, a flag's write, memory.
//!
//! `cargo bench --bench scale`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::disallowed_methods)]

#[path = "../tests/common/mod.rs"]
mod common;

use common::scale::{FLAGS, SERVICES, measure, request_with_flags};

fn main() {
    let measured = measure();
    println!("{SERVICES} services, {FLAGS} flags:");
    println!("  start       {:?}", measured.start);
    println!("  reload      {:?}", measured.reload);
    println!("  flag write  {:?}", measured.flag_write);
    println!(
        "  resident    {} MiB at the start, {} MiB once each service has answered",
        measured.resident[0], measured.resident[1]
    );
    let [few, many] = [20, FLAGS].map(request_with_flags);
    println!("a request that tells the app of 20 flags: {few:?} of 20 stored, {many:?} of {FLAGS}");
}

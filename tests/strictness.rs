//! Bytes that can be read in more than one way, from clients and from apps, with raw
//! sockets on both sides: each is refused, or passes in one form that nobody can take for
//! another. Written from the RFCs and SPEC 2; a row names its section.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

#[path = "strictness/answers.rs"]
mod answers;
#[path = "strictness/app.rs"]
mod app;
#[path = "strictness/framing.rs"]
mod framing;
#[path = "strictness/heads.rs"]
mod heads;
#[path = "strictness/http2.rs"]
mod http2;
#[path = "strictness/requests.rs"]
mod requests;
#[path = "strictness/stage.rs"]
mod stage;
#[path = "strictness/streams.rs"]
mod streams;
#[path = "strictness/wire.rs"]
mod wire;

use requests::Row;
use stage::{Case, Stage, play};

fn cases(rows: Vec<Row>) -> Vec<Case> {
    rows.into_iter().map(Row::case).collect()
}

#[test]
fn framing_rows() {
    play(&Stage::start("stable: 'http://{app}'"), &cases(framing::rows()), 120);
}

#[test]
fn head_rows() {
    play(&Stage::start("stable: 'http://{app}'"), &cases(heads::rows()), 180);
}

/// With deadlines that a row can wait for.
const QUICK: &str = "services: { shop: { pools: { blue: { endpoints: 'http://{app}' } }, stable: blue, \
    timeouts: { response: 1s, stream: 1s } } }";

#[test]
fn answer_rows() {
    play(&Stage::start(QUICK), &answers::cases(), 180);
}

#[test]
fn http2_rows() {
    play(&Stage::start(QUICK), &streams::cases(), 180);
}

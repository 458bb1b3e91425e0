//! gRPC by grpcio: the client in Python through Serin to an app in Python.

use std::process::Command;

use super::programs::{App, Edge, authority, python_client, succeeds};
use crate::common::{have, python_has};

/// All kinds of calls, over plain text and TLS: what each has to see is in the script, and
/// how many calls must have been which outcome it says itself.
#[test]
fn a_python_client_talks_to_a_python_app() {
    if !python_has("grpc") {
        return;
    }
    let (_folder, authority) = authority();
    let app = App::python("grpc_app.py", &[]);
    let endpoint = || format!("h2c://127.0.0.1:{}", app.ports[0]);
    let edge = Edge::start(&authority, &[("plain", endpoint(), ""), ("tls", endpoint(), "")]);
    let ca = authority.file.to_str().unwrap();
    for (service, port, ca) in [("plain", edge.plain, None), ("tls", edge.encrypted, Some(ca))] {
        let (address, name) = (format!("127.0.0.1:{port}"), format!("{service}.test"));
        let args: Vec<&str> = [address.as_str(), &name].into_iter().chain(ca).collect();
        let counts = python_client("grpc_client.py", &args);
        edge.has_counted(service, "success", counts[0]);
        // At a deadline both sides end a call: the app's status may come before the client leaves.
        let failed = edge.serin.metrics().sum("serin_outcomes_total", &[&format!("\"{service}\""), "\"grpc\""]);
        assert!((f64::from(counts[1])..=f64::from(counts[1] + 1)).contains(&failed), "{failed} of {counts:?}");
        for none in ["status", "reset", "protocol", "truncated", "abandoned", "connect", "timeout"] {
            edge.has_counted(service, none, 0);
        }
    }
}

/// gRPC's clients read a status, not a page: what Serin says itself is one.
#[test]
fn an_app_that_is_not_there_is_unavailable() {
    if !python_has("grpc") || !have("curl") {
        return;
    }
    let (_folder, authority) = authority();
    let edge = Edge::start(&authority, &[("gone", format!("h2c://{}", crate::common::app::nobody()), "")]);
    let program = "import grpc, sys\n\
        channel = grpc.insecure_channel(sys.argv[1], [('grpc.default_authority', 'gone.test')])\n\
        try: channel.unary_unary('/test.Talk/unary')(b'', timeout=20)\n\
        except grpc.RpcError as error: print(error.code().name, dict(error.initial_metadata() or error.trailing_metadata()).get('serin-error'))";
    let said = succeeds(Command::new("python3").args(["-c", program, &format!("127.0.0.1:{}", edge.plain)]));
    assert_eq!(said, "UNAVAILABLE upstreamConnect\n");
    edge.has_counted("gone", "connect", 1);
}

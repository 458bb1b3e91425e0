//! WebSockets by `websockets`, and another protocol: Serin is a tunnel for both.

use std::io::Write;
use std::path::Path;

use super::programs::{App, Edge, authority, python_client};
use crate::common::http::{connect, read_answer};
use crate::common::python_has;

#[test]
fn a_python_client_talks_to_a_python_app() {
    if !python_has("websockets") {
        return;
    }
    let (_folder, authority) = authority();
    let files = authority.issue("app", &["localhost"]);
    let apps = [App::python("ws_app.py", &[]), App::python("ws_app.py", &[&*files.cert, &*files.key])];
    let [plain, encrypted] = apps.each_ref().map(|app| format!("localhost:{}", app.ports[0]));
    let believing = format!(", tls: {{ ca: '{}' }}", authority.file.display());
    let edge = Edge::start(
        &authority,
        &[
            ("plain", format!("http://{plain}"), ""),
            ("secure", format!("http://{plain}"), ""),
            ("deep", format!("https://{encrypted}"), &believing),
        ],
    );
    let ca = authority.file.to_str().unwrap();
    let ways = [
        ("plain", "ws://plain.test", edge.plain, None),
        ("secure", "wss://secure.test", edge.encrypted, Some(ca)),
        ("deep", "ws://deep.test", edge.plain, None),
    ];
    for (service, url, port, ca) in ways {
        let port = port.to_string();
        let args: Vec<&str> = [url, &port].into_iter().chain(ca).collect();
        let upgraded = python_client("ws_client.py", &args)[0];
        edge.has_answered(service, 101, upgraded);
        edge.has_answered(service, 403, 1);
        edge.has_counted(service, "success", upgraded + 1);
    }
}

#[test]
fn a_protocol_of_its_own_has_its_bytes_at_once_and_half_closes() {
    if !python_has("websockets") {
        return;
    }
    let (_folder, authority) = authority();
    let app = App::python("ws_app.py", &[] as &[&Path]);
    let edge = Edge::start(&authority, &[("raw", format!("http://127.0.0.1:{}", app.ports[1]), "")]);
    let tunnels = python_client("ws_client.py", &["tunnel://raw.test", &edge.plain.to_string()])[0];
    edge.has_counted("raw", "success", tunnels);
}

/// The outcome does not wait for the end of what may last for days.
#[test]
fn an_upgrade_is_a_success_while_it_lasts() {
    if !python_has("websockets") {
        return;
    }
    let (_folder, authority) = authority();
    let app = App::python("ws_app.py", &[]);
    let edge = Edge::start(&authority, &[("ws", format!("http://127.0.0.1:{}", app.ports[0]), "")]);
    let mut socket = connect(edge.serin.proxy);
    let head = "GET / HTTP/1.1\r\nhost: ws.test\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
    socket.write_all(head.as_bytes()).unwrap();
    let answer = read_answer(&mut socket, false);
    assert_eq!(answer.status, 101, "{}", answer.head);
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    edge.has_counted("ws", "success", 1);
    drop(socket);
    edge.has_counted("ws", "truncated", 0);
}

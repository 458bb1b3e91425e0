//! OFREP by raw requests: statuses, fields and bodies, and every key of the public listener.
//! Clients of other makes are in `sdk.rs`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::app::echo;
use common::certificates::Authority;
use common::http::{Answer, connect, exchange};
use common::{PATIENCE, Serin, cli};
use serde_json::{Value, json};
use serin::tls::{ClientTls, TlsOptions};

const PATH: &str = "/ofrep/v1/evaluate/flags";

fn started(ofrep: &str, more: &str, variables: &[(&str, &str)]) -> Serin {
    let config = format!("stable: 'http://{}'\nofrep: {{ address: '127.0.0.1:0'{ofrep} }}\n{more}", echo("app"));
    let serin = Serin::start_with(&config, "", variables);
    for (name, client) in [("open", true), ("closed", false)] {
        let rules = json!([{ "type": "user", "value": "boss" }, { "type": "group", "value": "staff" },
            { "type": "attribute", "value": { "plan": { "equals": "gold" } } }]);
        let flag = json!({ "enabled": true, "rolloutPercentage": 0, "rules": rules, "client": client });
        assert_eq!(serin.api("PUT", &format!("/api/flags/{name}"), &flag).0, 200);
    }
    let half = json!({ "enabled": true, "rolloutPercentage": 50, "client": true });
    assert_eq!(serin.api("PUT", "/api/flags/half", &half).0, 200);
    serin
}

fn ask(address: SocketAddr, method: &str, path: &str, fields: &str, body: &str) -> Answer {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n{fields}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(address, request.as_bytes())
}

fn post(address: SocketAddr, key: &str, fields: &str, context: &Value) -> (u16, Value) {
    let answer = ask(address, "POST", &format!("{PATH}/{key}"), fields, &json!({ "context": context }).to_string());
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

fn public(serin: &Serin) -> SocketAddr {
    serin.ofrep.expect("a public listener")
}

#[test]
fn servers_ask_by_the_admin_api_and_are_believed() {
    let serin = started("", "", &[]);
    let (status, answer) = post(serin.admin, "closed", "", &json!({ "targetingKey": "boss" }));
    let expected = json!({ "key": "closed", "value": true, "variant": "on", "reason": "TARGETING_MATCH", "metadata": { "rule": "user" } });
    assert_eq!((status, answer), (200, expected));
    let (_, answer) = post(serin.admin, "closed", "", &json!({ "groupId": "staff" }));
    assert_eq!(answer["value"], true);
    let (_, answer) = post(serin.admin, "half", "", &json!({ "targetingKey": "u" }));
    assert_eq!(answer["reason"], "SPLIT");
    let (status, answer) = post(serin.admin, "half", "", &json!({}));
    assert_eq!((status, &answer["errorCode"], &answer["key"]), (400, &json!("TARGETING_KEY_MISSING"), &json!("half")));
    let (status, answer) = post(serin.admin, "un%2Fknown", "", &json!({}));
    assert_eq!((status, &answer["errorCode"], &answer["key"]), (404, &json!("FLAG_NOT_FOUND"), &json!("un/known")));
    for (body, status) in [("", 200), ("{}", 200), ("{", 400), ("[]", 400), (r#"{"context":7}"#, 400)] {
        let answer = ask(serin.admin, "POST", &format!("{PATH}/open"), "", body);
        assert_eq!(answer.status, status, "{body}");
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(
            answer["metadata"].is_object() && (status == 200 || answer["errorCode"] == "INVALID_CONTEXT"),
            "{answer}"
        );
    }
}

#[test]
fn an_answer_has_a_tag_that_depends_on_who_asks() {
    let serin = started("", "", &[]);
    let all = |user: &str, known: &str| {
        let body = json!({ "context": { "targetingKey": user } }).to_string();
        ask(serin.admin, "POST", PATH, known, &body)
    };
    let first = all("boss", "");
    let flags: Value = serde_json::from_slice(&first.body).unwrap();
    let keys: Vec<&str> = flags["flags"].as_array().unwrap().iter().map(|flag| flag["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["closed", "half", "open"]);
    assert_eq!(ask(serin.admin, "POST", &format!("{PATH}/"), "", "{}").status, 200, "as some clients end it");
    let tag = first.header("etag").expect("a tag").to_owned();
    let again = all("boss", &format!("if-none-match: \"other\", W/{tag}\r\n"));
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag.as_str())));
    let another = all("somebody", &format!("if-none-match: {tag}\r\n"));
    assert_eq!(another.status, 200, "nobody gets another's flags");
    serin.does(&["flags", "disable", "open"]);
    assert_eq!(all("boss", &format!("if-none-match: {tag}\r\n")).status, 200, "a flag has changed");
}

#[test]
fn apps_of_users_ask_at_an_address_and_path_of_their_own() {
    let serin = started(", path: /flags/", "", &[]);
    let at = public(&serin);
    let answer = ask(at, "POST", &format!("/flags{PATH}/open"), "", "{}");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(ask(at, "POST", &format!("{PATH}/open"), "", "{}").status, 404, "the path is part of it");
    assert_eq!(ask(at, "GET", &format!("/flags{PATH}/open"), "", "").status, 405);
    assert_eq!(ask(at, "POST", &format!("/flags{PATH}/closed"), "", "{}").status, 404, "servers alone see it");
    let all: Value = serde_json::from_slice(&ask(at, "POST", &format!("/flags{PATH}/"), "", "{}").body).unwrap();
    let keys: Vec<&Value> = all["flags"].as_array().unwrap().iter().map(|flag| &flag["key"]).collect();
    assert_eq!(keys, ["half", "open"]);
    assert_eq!(all["flags"][0]["errorCode"], "TARGETING_KEY_MISSING", "an item, no failure of all");
    let large = format!(r#"{{"context":{{"x":"{}"}}}}"#, "x".repeat(100 << 10));
    assert_eq!(ask(at, "POST", &format!("/flags{PATH}/open"), "", &large).status, 413);
}

#[test]
fn a_body_is_not_believed_there() {
    let serin = started("", "identity: { attributes: { plan: { header: x-plan, trust: true } } }", &[]);
    let on = |fields: &str, context: Value| post(public(&serin), "open", fields, &context).1["value"].clone();
    assert_eq!(on("", json!({ "targetingKey": "boss", "userId": "boss", "groupId": "staff" })), false);
    assert_eq!(
        on("", json!({ "plan": "gold" })),
        false,
        "where configuration says where it stands, nothing else counts"
    );
    assert_eq!(on("x-plan: gold\r\n", json!({ "plan": "silver" })), true);
    let other = started("", "", &[]);
    assert_eq!(
        post(public(&other), "open", "", &json!({ "plan": "gold" })).1["value"],
        true,
        "of what nobody else knows it is"
    );
}

#[test]
fn only_trusted_proxies_say_who_a_visitor_is() {
    let trusting = started(", trustedProxies: [127.0.0.0/8]", "", &[]);
    let (_, answer) = post(public(&trusting), "open", "x-user-id: boss\r\n", &json!({ "targetingKey": "u" }));
    assert_eq!(answer["value"], true);
    let strange = started("", "", &[]);
    let (_, answer) = post(public(&strange), "open", "x-user-id: boss\r\n", &json!({}));
    assert_eq!(answer["value"], false);
    // It still draws: the same id has the same bucket as by headers.
    let drawn = |context: Value, fields: &str| post(public(&strange), "half", fields, &context).1["value"].clone();
    for user in ["u-1", "u-2", "u-3", "u-4"] {
        let by_field = drawn(json!({ "targetingKey": "other" }), &format!("x-user-id: {user}\r\n"));
        assert_eq!(by_field, drawn(json!({ "targetingKey": user }), ""), "the field comes before the body");
    }
}

#[test]
fn a_public_listener_has_tokens_of_its_own() {
    let serin = started(", tokens: [ { env: SERIN_OFREP_TOKEN } ]", "", &[("SERIN_OFREP_TOKEN", "client-token-0001")]);
    let status = |fields: &str| post(public(&serin), "open", fields, &json!({})).0;
    assert_eq!(status(""), 401);
    assert_eq!(status("authorization: Bearer client-token-0002\r\n"), 401);
    assert_eq!(status("authorization: Bearer client-token-0001\r\n"), 200);
    assert_eq!(status("x-api-key: client-token-0001\r\n"), 200);
}

#[test]
fn pages_of_named_origins_may_ask() {
    let serin = started(", origins: ['https://shop.test']", "", &[]);
    let asked = |method: &str, origin: &str| {
        ask(public(&serin), method, &format!("{PATH}/open"), &format!("origin: {origin}\r\n"), "{}")
    };
    let own = asked("OPTIONS", "https://shop.test");
    assert_eq!((own.status, own.header("access-control-allow-origin")), (204, Some("https://shop.test")));
    assert!(own.header("access-control-allow-headers").unwrap().contains("if-none-match"));
    let own = asked("POST", "https://shop.test");
    assert_eq!(own.header("access-control-expose-headers"), Some("ETag, Retry-After"));
    for method in ["OPTIONS", "POST"] {
        assert_eq!(asked(method, "https://evil.test").header("access-control-allow-origin"), None);
    }
    let all = started(", origins: ['*']", "", &[]);
    let any = ask(public(&all), "POST", &format!("{PATH}/open"), "origin: https://any.test\r\n", "{}");
    assert_eq!(any.header("access-control-allow-origin"), Some("https://any.test"));
    assert_eq!(any.header("access-control-allow-credentials"), None, "cookies are for named pages");
    let wrong = tempfile::NamedTempFile::new().unwrap();
    let text = "listen: 127.0.0.1:0\nstable: http://a\nofrep: { address: '127.0.0.1:0', origins: [shop.test] }\n";
    std::fs::write(wrong.path(), text).unwrap();
    let output = cli(&["check", "--config", wrong.path().to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("https://shop.example.com"), "what an origin is");
}

#[test]
fn who_asks_too_often_is_told_when_to_come_back() {
    let serin = started(", requestsPerSecond: 1, burst: 3", "", &[]);
    let statuses: Vec<u16> = (0..5).map(|_| post(public(&serin), "open", "", &json!({})).0).collect();
    assert_eq!(statuses[..3], [200; 3]);
    let last = ask(public(&serin), "POST", &format!("{PATH}/open"), "", "{}");
    assert_eq!((last.status, last.header("retry-after")), (429, Some("1")), "{statuses:?}");
    let many = started(", requestsPerSecond: 1000, burst: 1000", "", &[]);
    assert!((0..50).all(|_| post(public(&many), "open", "", &json!({})).0 == 200));
}

#[test]
fn a_change_is_signalled_at_once_where_events_are_on() {
    let serin = started(", events: true", "", &[]);
    let all: Value = serde_json::from_slice(&ask(public(&serin), "POST", PATH, "", "{}").body).unwrap();
    let stream = all["eventStreams"][0]["endpoint"]["requestUri"].as_str().expect("a stream").to_owned();
    let mut signals = Signals::open(&serin, &stream, "");
    assert!(signals.read_until("signals follow").contains("200 OK"));
    serin.does(&["flags", "enable", "open"]);
    assert!(signals.read_until("refetchEvaluation").contains("event: message"));
    let quiet = started("", "", &[]);
    let all: Value = serde_json::from_slice(&ask(public(&quiet), "POST", PATH, "", "{}").body).unwrap();
    assert_eq!(all["eventStreams"], Value::Null);
    assert_eq!(ask(public(&quiet), "GET", "/ofrep/v1/events", "", "").status, 404);
}

/// A stream of signals.
struct Signals(TcpStream);

impl Signals {
    fn open(serin: &Serin, path: &str, fields: &str) -> Self {
        let mut socket = connect(public(serin));
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{fields}\r\n").unwrap();
        Self(socket)
    }

    /// What comes, up to and with the piece that this is in.
    fn read_until(&mut self, end: &str) -> String {
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains(end) {
            let read = self.0.read(&mut buffer).expect("a signal");
            assert!(read > 0, "the stream ended: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        text
    }
}

/// Clients that come back do not fetch by themselves, and new ones have fetched before.
#[test]
fn what_a_stream_has_missed_is_signalled_when_it_opens() {
    const EVENTS: &str = "/ofrep/v1/events";
    let serin = started(", events: true", "", &[]);
    let mut new = Signals::open(&serin, EVENTS, "");
    let text = new.read_until("refetchEvaluation");
    let id = text.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id to come back with").to_owned();
    let at = format!("last-event-id: {id}\r\n");
    // Up to date: the first signal is of the change that comes.
    let mut back = Signals::open(&serin, EVENTS, &at);
    back.read_until("signals follow");
    serin.does(&["flags", "disable", "open"]);
    let signal = back.read_until("refetchEvaluation");
    assert_eq!(signal.matches("refetchEvaluation").count(), 1, "{signal}");
    assert!(!signal.contains(&format!("id: {id}\n")), "{signal}");
    for missed in [at.as_str(), "last-event-id: 1-1\r\n"] {
        let text = Signals::open(&serin, EVENTS, missed).read_until("refetchEvaluation");
        assert_eq!(text.matches("refetchEvaluation").count(), 1, "{text}");
    }
}

/// Browsers send no token there.
#[test]
fn a_stream_opens_by_the_pass_that_came_with_the_flags() {
    let serin = started(
        ", events: true, path: /flags, tokens: [ { env: SERIN_OFREP_TOKEN } ]",
        "",
        &[("SERIN_OFREP_TOKEN", "client-token-0001")],
    );
    let token = "authorization: Bearer client-token-0001\r\n";
    let all = ask(public(&serin), "POST", &format!("/flags{PATH}"), token, "{}");
    let all: Value = serde_json::from_slice(&all.body).unwrap();
    let stream = all["eventStreams"][0]["endpoint"]["requestUri"].as_str().expect("a stream").to_owned();
    assert!(stream.starts_with("/flags/ofrep/v1/events?pass=") && !stream.contains("client-token"), "{stream}");
    let opened = |path: &str, fields: &str| {
        let mut signals = Signals::open(&serin, path, fields);
        signals.read_until("\r\n").split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(opened(&stream, ""), "200");
    assert_eq!(opened("/flags/ofrep/v1/events", token), "200");
    for wrong in ["/flags/ofrep/v1/events", "/flags/ofrep/v1/events?pass=client-token-0001"] {
        assert_eq!(opened(wrong, ""), "401", "{wrong}");
    }
    let pass = stream.rsplit_once('=').unwrap().1;
    let by_pass = format!("authorization: Bearer {pass}\r\n");
    assert_eq!(ask(public(&serin), "POST", &format!("/flags{PATH}"), &by_pass, "{}").status, 401, "it opens no flags");
}

/// Clients take an error without it for no answer at all.
#[test]
fn an_error_of_one_flag_names_the_flag() {
    let serin = started(
        ", requestsPerSecond: 1, burst: 4, tokens: [ { env: SERIN_OFREP_TOKEN } ]",
        "",
        &[("SERIN_OFREP_TOKEN", "client-token-0001")],
    );
    let token = "x-api-key: client-token-0001\r\n";
    let large = format!(r#"{{"context":{{"x":"{}"}}}}"#, "x".repeat(2 << 20));
    let told = |at: SocketAddr, fields: &str, body: &str| {
        let answer = ask(at, "POST", &format!("{PATH}/n%6F/such"), fields, body);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(body["errorDetails"].is_string() && body["metadata"] == json!({}), "{body}");
        (answer.status, body["key"].as_str().unwrap_or_default().to_owned(), body["errorCode"].clone())
    };
    let of = |status: u16, code: &str| (status, "no/such".to_owned(), json!(code));
    assert_eq!(told(public(&serin), token, "{"), of(400, "INVALID_CONTEXT"));
    assert_eq!(told(public(&serin), "", "{}"), of(401, "GENERAL"));
    assert_eq!(told(public(&serin), token, "{}"), of(404, "FLAG_NOT_FOUND"));
    assert_eq!(told(public(&serin), token, &large), of(413, "INVALID_CONTEXT"));
    let refused = (0..20).map(|_| told(public(&serin), token, "{}")).find(|(status, ..)| *status == 429);
    assert_eq!(refused, Some(of(429, "GENERAL")));
    assert_eq!(told(serin.admin, "", "{"), of(400, "INVALID_CONTEXT"));
    assert_eq!(told(serin.admin, "", &large), of(413, "INVALID_CONTEXT"));
    assert_eq!(told(serin.admin, "origin: https://evil.test\r\n", "{}"), of(403, "GENERAL"));
    for at in [serin.admin, public(&started("", "", &[]))] {
        let all = ask(at, "POST", PATH, "", "{");
        let all: Value = serde_json::from_slice(&all.body).unwrap();
        assert_eq!((&all["key"], &all["errorCode"]), (&Value::Null, &json!("INVALID_CONTEXT")), "of all flags: no key");
    }
}

#[test]
fn a_public_listener_speaks_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, clients) = (Authority::named(folder.path(), "one"), Authority::named(folder.path(), "clients"));
    let files = authority.issue("a", &["flags.test"]);
    let tls = format!(", tls: {{ certificates: [ {} ] }}", files.yaml());
    let serin = started(&tls, "", &[]);
    let status = |serin: &Serin| {
        let options = TlsOptions {
            ca: Some(authority.file.clone()),
            server_name: Some("flags.test".to_owned()),
            ..TlsOptions::default()
        };
        let tls = ClientTls::new(&options).unwrap();
        let address = public(serin);
        let asked = async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let socket = tokio::net::TcpStream::connect(address).await.ok()?;
            let (mut stream, _) = tls.connect("flags.test", socket, true).await.ok()?;
            let request = format!(
                "POST {PATH}/open HTTP/1.1\r\nhost: flags.test\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await.ok()?;
            text.split(' ').nth(1)?.parse::<u16>().ok()
        };
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(asked)
    };
    assert_eq!(status(&serin), Some(200));
    let guarded = format!(", tls: {{ certificates: [ {} ], clientCa: '{}' }}", files.yaml(), clients.file.display());
    assert_eq!(status(&started(&guarded, "", &[])), None, "a certificate of their own is asked for");
}

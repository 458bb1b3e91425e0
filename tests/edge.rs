//! The keys of the edge, each seen to work: TLS on both sides and of the admin API, HTTP/2 to
//! apps, the PROXY protocol, signed identities. Real clients of other makes are in `clients.rs`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use common::app::{Do, Scripted, answering, echo};
use common::certificates::{Authority, Files};
use common::frames::{self, Http2};
use common::http::{Answer, connect, get, read_answer};
use common::{Serin, cli, eventually};
use hmac::{KeyInit, Mac};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use serin::tls::{ClientTls, TlsOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn believing(authority: &Authority) -> TlsOptions {
    TlsOptions { ca: Some(authority.file.clone()), ..TlsOptions::default() }
}

/// One request over TLS by HTTP/1.1; the error is the handshake's, or that nothing came.
fn over_tls(address: SocketAddr, name: &str, options: &TlsOptions, fields: &str) -> Result<String, String> {
    let tls = ClientTls::new(&TlsOptions { server_name: Some(name.to_owned()), ..options.clone() }).unwrap();
    let ask = async {
        let socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut stream, _) = tls.connect(name, socket, true).await.map_err(|error| error.to_string())?;
        let request = format!("GET / HTTP/1.1\r\nhost: {name}\r\n{fields}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.map_err(|error| error.to_string())?;
        if text.is_empty() { Err("nothing came".to_owned()) } else { Ok(text) }
    };
    // A thread of its own: some callers have a runtime already.
    std::thread::scope(|scope| scope.spawn(|| runtime().block_on(ask)).join().unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn tls(certificates: &[&Files], more: &str) -> String {
    let all: Vec<String> = certificates.iter().map(|files| files.yaml()).collect();
    format!(", tls: {{ certificates: [ {} ]{more} }}", all.join(", "))
}

fn shop(app: &str) -> String {
    format!("stable: '{app}'\n")
}

#[test]
fn the_server_name_picks_the_certificate_and_the_app_hears_of_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (Authority::named(folder.path(), "one"), Authority::named(folder.path(), "other"));
    let (first, wild) = (one.issue("a", &["a.test"]), other.issue("w", &["*.w.test"]));
    let config = format!("{}canary: 'http://{}'\n", shop(&format!("http://{}", echo("app"))), echo("canary"));
    let serin = Serin::start_with(&config, &tls(&[&first, &wild], ""), &[]);
    serin.does(&["deploy", "start", "v2"]);
    let answer = over_tls(serin.proxy, "a.test", &believing(&one), "").unwrap();
    assert!(answer.contains("x-forwarded-proto: https"), "{answer}");
    assert!(answer.contains("; Secure"), "the cookie is for TLS only: {answer}");
    assert!(over_tls(serin.proxy, "x.w.test", &believing(&other), "").is_ok());
    // `*` is one label, and who names nobody known gets the first.
    assert!(over_tls(serin.proxy, "x.y.w.test", &believing(&other), "").is_err());
    assert!(over_tls(serin.proxy, "a.test", &believing(&other), "").is_err());
    // Plain text is no handshake.
    assert_eq!(get(serin.proxy, "/", "").status, 0);
    eventually("the refusal", || (serin.metrics().sum("serin_refused_total", &["tls"]) > 0.0).then_some(()));
}

#[test]
fn a_renewed_certificate_is_picked_up_and_no_connection_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (Authority::named(folder.path(), "before"), Authority::named(folder.path(), "after"));
    let files = before.issue("shop", &["shop.test"]);
    let serin = Serin::start_with(&shop(&format!("http://{}", echo("app"))), &tls(&[&files], ""), &[]);
    let kept = ClientTls::new(&TlsOptions { server_name: Some("shop.test".to_owned()), ..believing(&before) }).unwrap();
    let ask = async |stream: &mut serin::tls::Stream| {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.unwrap();
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..n].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..n]));
    };
    runtime().block_on(async {
        let socket = tokio::net::TcpStream::connect(serin.proxy).await.unwrap();
        let (mut stream, _) = kept.connect("shop.test", socket, true).await.unwrap();
        ask(&mut stream).await;
        after.issue("shop", &["shop.test"]);
        eventually("the new certificate", || over_tls(serin.proxy, "shop.test", &believing(&after), "").ok());
        ask(&mut stream).await;
        // A ticket from before the renewal is still taken: nobody is asked for a certificate again.
        let socket = tokio::net::TcpStream::connect(serin.proxy).await.unwrap();
        let (mut again, _) = kept.connect("shop.test", socket, true).await.unwrap();
        ask(&mut again).await;
    });
    // What cannot be used is not taken up.
    std::fs::write(&files.key, "no key").unwrap();
    eventually("the refusal", || serin.log().iter().any(|line| line.contains("stays as it was")).then_some(()));
    assert!(over_tls(serin.proxy, "shop.test", &believing(&after), "").is_ok());
}

/// One request on a connection that stays.
async fn ask_on(stream: &mut serin::tls::Stream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n\r\n").as_bytes()).await.unwrap();
    let mut buffer = [0; 4096];
    let read = stream.read(&mut buffer).await.unwrap();
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

#[test]
fn a_reload_that_takes_tls_away_is_for_new_connections() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let files = authority.issue("shop", &["shop.test"]);
    let app = shop(&format!("http://{}", echo("app")));
    let serin = Serin::start_with(&app, &tls(&[&files], ""), &[]);
    let options = TlsOptions { server_name: Some("shop.test".to_owned()), ..believing(&authority) };
    let kept = ClientTls::new(&options).unwrap();
    runtime().block_on(async {
        let socket = tokio::net::TcpStream::connect(serin.proxy).await.unwrap();
        let (mut stream, _) = kept.connect("shop.test", socket, true).await.unwrap();
        serin.write_config(&app);
        let mut asked = 0;
        // Asked all the while: before, during and after the reload.
        while asked < 20 || get(serin.proxy, "/", "").status != 200 {
            let answer = ask_on(&mut stream, "/").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "after {asked} requests: {answer:?}");
            asked += 1;
            assert!(asked < 100_000, "the reload did not come");
        }
        assert!(ask_on(&mut stream, "/").await.starts_with("HTTP/1.1 200"), "who spoke TLS goes on");
    });
    assert!(over_tls(serin.proxy, "shop.test", &believing(&authority), "").is_err(), "nobody new does");
}

/// Has the next process take over; the one before drains.
fn taken_over(serin: &mut Serin) {
    serin.signal(rustix::process::Signal::USR2);
    let next = eventually("the next process", || serin.successors().last().copied());
    serin.serves_by(next);
}

#[test]
fn an_upgrade_answers_who_speaks_tls_already_and_the_next_process_speaks_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let files = authority.issue("shop", &["shop.test"]);
    let mut serin = Serin::start_with(&shop(&format!("http://{}", echo("app"))), &tls(&[&files], ""), &[]);
    let options = TlsOptions { server_name: Some("shop.test".to_owned()), ..believing(&authority) };
    let kept = ClientTls::new(&options).unwrap();
    runtime().block_on(async {
        let socket = tokio::net::TcpStream::connect(serin.proxy).await.unwrap();
        let (mut stream, _) = kept.connect("shop.test", socket, true).await.unwrap();
        assert!(ask_on(&mut stream, "/").await.starts_with("HTTP/1.1 200"));
        taken_over(&mut serin);
        let answer = ask_on(&mut stream, "/").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    });
    assert!(over_tls(serin.proxy, "shop.test", &believing(&authority), "").is_ok());
}

#[test]
fn an_upgrade_answers_what_is_under_way_over_http2() {
    let app = answering(|head| {
        if head.contains(" /slow ") {
            std::thread::sleep(std::time::Duration::from_millis(700));
        }
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned()
    });
    let mut serin = Serin::start(&format!("drain: {{ timeout: 3s }}\n{}", shop(&format!("http://{app}"))));
    let mut client = Http2::connect(serin.proxy);
    client.send(&frames::get(1, "/"));
    assert_eq!(client.status(1), 200);
    client.send(&frames::get(3, "/slow"));
    taken_over(&mut serin);
    assert_eq!(client.status(3), 200, "what was under way is answered");
    assert!(client.ends(common::PATIENCE), "and the connection ends");
    let mut next = Http2::connect(serin.proxy);
    next.send(&frames::get(1, "/"));
    assert_eq!(next.status(1), 200);
}

#[test]
fn client_ca_asks_for_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let files = authority.issue("shop", &["shop.test"]);
    let more = format!(", clientCa: '{}'", authority.file.display());
    let serin = Serin::start_with(&shop(&format!("http://{}", echo("app"))), &tls(&[&files], &more), &[]);
    assert!(over_tls(serin.proxy, "shop.test", &believing(&authority), "").is_err());
    if !common::have("curl") {
        return;
    }
    let client = authority.issue("client", &["client.test"]);
    let url = format!("https://shop.test:{}/", serin.proxy.port());
    let curl = std::process::Command::new("curl")
        .args(["-sS", "--max-time", "20", "--resolve", &format!("shop.test:{}:127.0.0.1", serin.proxy.port())])
        .arg("--cacert")
        .arg(&authority.file)
        .arg("--cert")
        .arg(&client.cert)
        .arg("--key")
        .arg(&client.key)
        .arg(url)
        .output()
        .unwrap();
    assert!(curl.status.success(), "{}", String::from_utf8_lossy(&curl.stderr));
}

#[test]
fn the_admin_api_speaks_tls_to_whom_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let files = authority.issue("admin", &["localhost", "127.0.0.1"]);
    let admin = |more: &str| {
        format!(
            "admin: {{ address: '127.0.0.1:0', tls: {{ certificates: [ {} ]{more} }} }}\n{}",
            files.yaml(),
            shop(&format!("http://{}", echo("app")))
        )
    };
    let serin = Serin::start_bare(&admin(""), &[]);
    let ca = authority.file.to_str().unwrap();
    let ask = |serin: &Serin, name: &str, ca: &[&str]| {
        let address = format!("https://{name}:{}", serin.admin.port());
        cli(&[&["--admin", &address], ca, &["flags", "set", "dark"]].concat())
    };
    for name in ["127.0.0.1", "localhost"] {
        let told = ask(&serin, name, &["--admin-ca", ca]);
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    }
    assert!(!ask(&serin, "127.0.0.1", &[]).status.success(), "an authority that the system does not know");
    assert!(!serin.cli(&["flags", "list"]).status.success(), "plain text");
    // With `clientCa` it asks for a certificate.
    let guarded = Serin::start_bare(&admin(&format!(", clientCa: '{ca}'")), &[]);
    assert!(!ask(&guarded, "127.0.0.1", &["--admin-ca", ca]).status.success());
}

/// Serin itself is the app server: it speaks TLS, HTTP/2 and HTTP/1.1.
fn app_over_tls(folder: &Path, names: &[&str]) -> (Authority, Serin) {
    let authority = Authority::new(folder);
    let files = authority.issue("app", names);
    let app = Serin::start_with(&shop(&format!("http://{}", echo("app"))), &tls(&[&files], ""), &[]);
    (authority, app)
}

fn before(endpoint: &str, tls: &str) -> Serin {
    Serin::start(&format!(
        "services: {{ shop: {{ pools: {{ a: {{ endpoints: '{endpoint}'{tls} }} }}, stable: a, retry: {{ attempts: 0 }} }} }}"
    ))
}

fn upstream_error(answer: &Answer) -> (u16, String) {
    (answer.status, answer.header("serin-error").unwrap_or_default().to_owned())
}

#[test]
fn an_app_server_is_checked_by_ca_and_server_name_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, app) = app_over_tls(folder.path(), &["app.internal"]);
    let endpoint = format!("https://127.0.0.1:{}", app.proxy.port());
    let ca = authority.file.display();
    let refused = (502, "upstreamConnect".to_owned());
    let checked = before(&endpoint, &format!(", tls: {{ ca: '{ca}', serverName: app.internal }}"));
    let answer = get(checked.proxy, "/x", "");
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert!(answer.text().contains("x-forwarded-proto: https"), "{}", answer.text());
    let misnamed = before(&endpoint, &format!(", tls: {{ ca: '{ca}' }}"));
    assert_eq!(upstream_error(&get(misnamed.proxy, "/", "")), refused);
    let unknown = before(&endpoint, ", tls: { serverName: app.internal }");
    assert_eq!(upstream_error(&get(unknown.proxy, "/", "")), refused);
    let unchecked = before(&endpoint, ", tls: { skipVerification: true }");
    assert_eq!(get(unchecked.proxy, "/", "").status, 200);
}

/// Requests to an app of HTTP/2 share connections, and bodies pass both ways.
#[test]
fn an_app_of_http2_gets_many_requests_on_one_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, by_alpn) = app_over_tls(folder.path(), &["app.internal"]);
    let plain = Serin::start(&shop(&format!("http://{}", echo("app"))));
    let tls = format!(", tls: {{ ca: '{}', serverName: app.internal }}", authority.file.display());
    let ways = [
        (before(&format!("https://127.0.0.1:{}", by_alpn.proxy.port()), &tls), &by_alpn),
        (before(&format!("h2c://{}", plain.proxy), ""), &plain),
    ];
    for (serin, app) in ways {
        std::thread::scope(|scope| {
            for client in 0..8 {
                let proxy = serin.proxy;
                scope.spawn(move || {
                    let mut stream = connect(proxy);
                    for n in 0..25 {
                        let path = format!("/client-{client}/{n}");
                        let request = format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\ncookie: a=b; c=d\r\n\r\n");
                        stream.write_all(request.as_bytes()).unwrap();
                        let answer = read_answer(&mut stream, false);
                        assert_eq!(answer.status, 200, "{}", answer.head);
                        let text = answer.text();
                        assert!(text.starts_with(&format!("app\nGET {path} HTTP/1.1\r\n")), "{text}");
                        assert!(
                            text.contains("host: shop.test\r\n") && text.contains("cookie: a=b; c=d\r\n"),
                            "{text}"
                        );
                    }
                });
            }
        });
        let opened = app.metrics().sum("serin_connections_total", &[]);
        assert!(opened <= 8.0, "{opened} connections for 200 requests");
        assert_eq!(serin.metrics().sum("serin_outcomes_total", &["success"]), 200.0);
    }
}

#[test]
fn proxy_protocol_says_who_the_peer_is_and_trust_is_that_peers() {
    let listener = ", proxyProtocol: true, trustedProxies: ['192.0.2.0/24']";
    let serin = Serin::start_with(&shop(&format!("http://{}", echo("app"))), listener, &[]);
    let ask = |header: &[u8]| {
        let mut stream = connect(serin.proxy);
        let request = "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 203.0.113.9\r\nconnection: close\r\n\r\n";
        stream.write_all(&[header, request.as_bytes()].concat()).unwrap();
        read_answer(&mut stream, false)
    };
    let trusted = ask(b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n").text();
    assert!(trusted.contains("x-forwarded-for: 203.0.113.9, 192.0.2.7\r\n"), "{trusted}");
    let stranger = ask(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\xc6\x33\x64\x01\0\x50\0\x51").text();
    assert!(stranger.contains("x-forwarded-for: 198.51.100.7\r\n"), "{stranger}");
    assert_eq!(ask(b"").status, 0, "a connection without the header");
    // It is counted a moment after the client has seen the end.
    let refused = || serin.metrics().sum("serin_refused_total", &["proxyProtocol"]);
    eventually("the refusal", || (refused() == 1.0).then_some(()));
}

/// The flag `staff` is on for the user `u-1` and the group `staff`; the app says what it saw.
fn flagged(config: &str, variables: &[(&str, &str)]) -> Serin {
    let app = answering(|head| {
        let on = head.contains("x-feature-staff: true");
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{on}", on.to_string().len())
    });
    let serin = Serin::start_with(&format!("{}{config}", shop(&format!("http://{app}"))), "", variables);
    let rules = r#"[{"type":"user","value":"u-1"},{"type":"group","value":"staff"},
        {"type":"attribute","value":{"role":{"in":["u-1","staff"]}}}]"#;
    serin.does(&["flags", "set", "staff", "--rules", rules]);
    serin
}

/// An identity with one source: of users, of groups, or of the attribute `role`.
fn identity(of: &str, source: &str) -> String {
    match of {
        "attributes" => format!("identity: {{ attributes: {{ role: {{ {source} }} }} }}\n"),
        list => format!("identity: {{ {list}: [ {{ {source} }} ] }}\n"),
    }
}

fn is_on(serin: &Serin, fields: &str) -> bool {
    get(serin.proxy, "/", fields).text() == "true"
}

#[test]
fn a_signed_identity_is_believed_from_anyone_and_an_unsigned_one_from_nobody() {
    const SECRET: &str = "0123456789abcdef";
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(b"u-1");
    let code: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let verify = "verify: { env: SERIN_EDGE_SECRET }";
    for (list, id) in [("user", "u-1"), ("group", "u-1"), ("attributes", "u-1")] {
        let config = identity(list, &format!("cookie: id, {verify}"));
        let serin = flagged(&config, &[("SERIN_EDGE_SECRET", SECRET)]);
        if list == "group" {
            serin.does(&["flags", "set", "staff", "--rules", r#"[{"type":"group","value":"u-1"}]"#]);
        }
        assert!(is_on(&serin, &format!("cookie: id={id}.{code}\r\n")), "{list}");
        assert!(!is_on(&serin, &format!("cookie: id={id}\r\n")), "{list}");
        assert!(!is_on(&serin, &format!("cookie: id=u-2.{code}\r\n")), "{list}");
    }
}

#[test]
fn a_tokens_claim_is_believed_by_each_kind_of_key() {
    const SECRET: &str = "0123456789abcdef";
    let folder = tempfile::tempdir().unwrap();
    let later = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 600;
    let claims = json!({ "sub": "u-1", "roles": ["staff"], "iss": "https://id.test", "aud": "shop", "exp": later });
    let pair = rcgen::KeyPair::generate().unwrap();
    let public = folder.path().join("public.pem");
    std::fs::write(&public, pair.public_key_pem()).unwrap();
    let set = folder.path().join("jwks.json");
    let point = pair.public_key_raw();
    let coordinate = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes);
    let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256", "use": "sig",
        "x": coordinate(&point[1..33]), "y": coordinate(&point[33..65]) });
    std::fs::write(&set, json!({ "keys": [jwk] }).to_string()).unwrap();
    let signed = |algorithm, key: &EncodingKey, name: Option<&str>| {
        let header = Header { kid: name.map(str::to_owned), ..Header::new(algorithm) };
        encode(&header, &claims, key).unwrap()
    };
    let by_secret = signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), None);
    let private = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let by_key = signed(Algorithm::ES256, &private, Some("k1"));
    // A public key is no secret: a token "signed" with its text is none.
    let confused = signed(Algorithm::HS256, &EncodingKey::from_secret(&std::fs::read(&public).unwrap()), None);
    let keys = [
        ("secret: { env: SERIN_EDGE_SECRET }".to_owned(), &by_secret),
        (format!("key: '{}'", public.display()), &by_key),
        (format!("jwks: '{}'", set.display()), &by_key),
    ];
    for (key, token) in &keys {
        for (list, claim) in [("user", ""), ("group", ", claim: roles"), ("attributes", ", claim: roles")] {
            for (rules, good) in [
                (", issuer: 'https://id.test', audience: shop", true),
                (", issuer: 'https://other.test'", false),
                (", audience: others", false),
            ] {
                let config = identity(list, &format!("header: authorization, jwt: {{ {key}{claim}{rules} }}"));
                let serin = flagged(&config, &[("SERIN_EDGE_SECRET", SECRET)]);
                assert_eq!(is_on(&serin, &format!("authorization: Bearer {token}\r\n")), good, "{config}");
                let foreign = if key.starts_with("secret") { &by_key } else { &by_secret };
                assert!(!is_on(&serin, &format!("authorization: Bearer {foreign}\r\n")), "{config}");
                assert!(!is_on(&serin, &format!("authorization: Bearer {confused}\r\n")), "{config}");
                assert!(!is_on(&serin, "authorization: Bearer u-1\r\n"));
            }
        }
    }
}

/// The bytes of another protocol pass untouched in both directions, each of which ends by itself.
#[test]
fn an_upgraded_connection_is_a_tunnel_with_half_close() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let n = stream.read(&mut head).unwrap();
        let head = String::from_utf8_lossy(&head[..n]).into_owned();
        assert!(head.contains("upgrade: echo\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\nhello ")
            .unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let serin = Serin::start(&shop(&format!("http://{address}")));
    let mut stream = connect(serin.proxy);
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\nearly ").unwrap();
    stream.write_all(b"\0\x01late").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let text = String::from_utf8_lossy(&all);
    assert!(text.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\nhello early \0\x01late"), "{text:?}");
    let counted = || (serin.metrics().sum("serin_outcomes_total", &["success"]) == 1.0).then_some(());
    eventually("the outcome", counted);
}

#[test]
fn a_grpc_status_is_an_error_as_grpc_status_says() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\ncontent-length: 0\r\n\r\n";
    for (errors, outcome) in [("", "success"), ("errors: { grpcStatus: [5] }", "grpc")] {
        let app = answering(move |_| answer.to_owned());
        let pools = format!("pools: {{ a: {{ endpoints: 'http://{app}' }} }}");
        let serin = Serin::start(&format!("services:\n  shop:\n    {pools}\n    stable: a\n    {errors}\n"));
        assert_eq!(get(serin.proxy, "/", "").status, 200);
        assert_eq!(serin.metrics().sum("serin_outcomes_total", &[outcome]), 1.0, "{errors}");
    }
}

/// Whoever has a connection of HTTP/2 is told that the process ends, and what is under way ends well.
#[test]
fn a_connection_of_http2_ends_in_peace_with_the_process() {
    let app = Scripted::start();
    app.plays(&[Do::Pause(500), Do::Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")]);
    let mut serin =
        Serin::start(&format!("{}drain: {{ delay: 1s, timeout: 10s }}\n", shop(&format!("http://{}", app.address))));
    let body = runtime().block_on(async {
        let socket = tokio::net::TcpStream::connect(serin.proxy).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(socket).await.unwrap();
        let ended = tokio::spawn(connection);
        let request = http::Request::get("http://shop.test/").body(()).unwrap();
        let (answer, _) = sender.send_request(request, true).unwrap();
        while app.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        serin.signal(rustix::process::Signal::TERM);
        let mut answer = answer.await.unwrap().into_body();
        let body = answer.data().await.unwrap().unwrap();
        drop((answer, sender));
        // GOAWAY without an error, and the end.
        ended.await.unwrap().unwrap();
        body
    });
    assert_eq!(body, "ok");
    assert!(serin.ends().success());
}

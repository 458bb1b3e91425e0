//! OpenSSL's client: what is agreed in a handshake, and what is refused.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::programs::{authority, output};
use crate::common::app::echo;
use crate::common::certificates::Files;
use crate::common::{Process, Serin, eventually, have};

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";

fn s_client(port: u16, options: &[&str]) -> Command {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]).args(options);
    openssl
}

/// What `s_client` prints that sends one request; everything it was told, and its errors.
fn shake_hands(port: u16, options: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let request = folder.path().join("request");
    std::fs::write(&request, REQUEST).unwrap();
    // A shell gives it the file: it goes on reading after the end of what it has to send.
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"request=$1; shift; exec "$@" < "$request""#, "sh"]).arg(request);
    let client = s_client(port, options);
    shell.arg(client.get_program()).args(client.get_args()).arg("-ign_eof");
    let output = output(&mut shell);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn one_shop(listeners: &[&str]) -> Serin {
    Serin::start_listening(&format!("stable: 'http://{}'\n", echo("app")), listeners)
}

fn tls(certificates: &[&Files], more: &str) -> String {
    let all: Vec<String> = certificates.iter().map(|files| files.yaml()).collect();
    format!(", tls: {{ certificates: [ {} ]{more} }}", all.join(", "))
}

fn is_served(text: &str) -> bool {
    text.contains("HTTP/1.1 200 OK") && text.contains("x-forwarded-proto: https")
}

/// The certificate in what `s_client` prints.
fn shown(text: &str) -> &str {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let begin = text.find(BEGIN).unwrap_or_else(|| panic!("no certificate: {text}"));
    text[begin + BEGIN.len()..].split("-----END").next().unwrap().trim()
}

fn is_shown(text: &str, files: &Files) -> bool {
    let file = std::fs::read_to_string(&files.cert).unwrap().replace('\r', "");
    shown(text) == shown(&file)
}

#[test]
fn a_protocol_is_agreed_or_the_handshake_fails() {
    if !have("openssl") {
        return;
    }
    let (_folder, authority) = authority();
    let serin = one_shop(&[&tls(&[&authority.issue("shop", &["shop.test"])], "")]);
    let port = serin.proxy.port();
    for version in ["-tls1_2", "-tls1_3"] {
        let ca = authority.file.to_str().unwrap();
        let ask = |more: &[&str]| {
            let options = [version, "-CAfile", ca, "-servername", "shop.test", "-verify_return_error"];
            shake_hands(port, &[&options, more].concat())
        };
        for (offered, chosen) in
            [("h2", "h2"), ("http/1.1,h2", "h2"), ("spdy/1,http/1.1", "http/1.1"), ("http/1.1", "http/1.1")]
        {
            let said = ask(&["-alpn", offered]);
            assert!(said.contains(&format!("ALPN protocol: {chosen}\n")), "{version} {offered}: {said}");
            assert_eq!(is_served(&said), chosen != "h2", "{said}");
        }
        let said = ask(&[]);
        assert!(said.contains("No ALPN negotiated") && is_served(&said), "{version}: {said}");
        let said = ask(&["-alpn", "spdy/1"]);
        assert!(said.contains("alert no application protocol") && !is_served(&said), "{version}: {said}");
    }
    // What is too old is refused by Serin, as the client would take it.
    for version in ["-tls1", "-tls1_1"] {
        let said = shake_hands(port, &[version, "-cipher", "DEFAULT@SECLEVEL=0"]);
        let alert = ["alert handshake failure", "alert protocol version"].iter().any(|alert| said.contains(alert));
        assert!(alert && !said.contains("BEGIN CERTIFICATE"), "{version}: {said}");
    }
}

#[test]
fn the_name_that_is_asked_for_picks_the_certificate() {
    if !have("openssl") {
        return;
    }
    let (_folder, authority) = authority();
    let [first, exact, wild, deep] =
        [("first", "first.test"), ("exact", "one.shop.test"), ("wild", "*.shop.test"), ("deep", "*.deep.shop.test")]
            .map(|(file, name)| authority.issue(file, &[name]));
    let serin = one_shop(&[&tls(&[&first, &wild, &exact, &deep], "")]);
    for (name, files) in [
        ("first.test", &first),
        ("one.shop.test", &exact),
        ("ONE.shop.TEST", &exact),
        ("two.shop.test", &wild),
        ("a.deep.shop.test", &deep),
        ("deep.shop.test", &wild),
        // `*` is one label.
        ("a.b.shop.test", &first),
        ("shop.test", &first),
        ("elsewhere.test", &first),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            let said = shake_hands(serin.proxy.port(), &[version, "-servername", name]);
            assert!(is_served(&said) && is_shown(&said, files), "{name} is not shown {files:?}: {said}");
        }
    }
    let said = shake_hands(serin.proxy.port(), &["-noservername"]);
    assert!(is_shown(&said, &first), "{said}");
}

/// A client that keeps its connection.
struct Kept {
    process: Process,
    answers: BufReader<std::process::ChildStdout>,
}

impl Kept {
    fn open(port: u16) -> Self {
        let mut openssl = s_client(port, &["-quiet", "-servername", "shop.test"]);
        let piped = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process::from(piped.spawn().unwrap());
        let answers = BufReader::new(process.child.stdout.take().unwrap());
        Self { process, answers }
    }

    fn asks(&mut self) {
        let request = REQUEST.replace("connection: close\r\n", "");
        self.process.child.stdin.as_mut().unwrap().write_all(request.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.answers.read_line(&mut head).unwrap(), 0, "the connection ended: {head}");
        }
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        self.answers.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
    }
}

#[test]
fn sessions_and_connections_outlive_a_renewed_certificate() {
    if !have("openssl") {
        return;
    }
    let (folder, authority) = authority();
    let files = authority.issue("shop", &["shop.test"]);
    let serin = one_shop(&[&tls(&[&files], "")]);
    let port = serin.proxy.port();
    let ticket = |version: &str| folder.path().join(format!("session{version}")).to_str().unwrap().to_owned();
    let resume = |version: &str| {
        let said = shake_hands(port, &[version, "-servername", "shop.test", "-sess_in", &ticket(version)]);
        assert!(said.contains("\nReused, TLSv1.") && is_served(&said), "{version}: {said}");
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let said = shake_hands(port, &[version, "-servername", "shop.test", "-sess_out", &ticket(version)]);
        assert!(said.contains("\nNew, TLSv1.") && is_served(&said), "{version}: {said}");
        resume(version);
    }
    let mut kept = Kept::open(port);
    kept.asks();
    let renewed = authority.issue("shop", &["shop.test"]);
    eventually("the new certificate", || {
        is_shown(&shake_hands(port, &["-servername", "shop.test"]), &renewed).then_some(())
    });
    kept.asks();
    for version in ["-tls1_2", "-tls1_3"] {
        resume(version);
    }
}

/// Three doors of one process: everybody's, and two with an authority each.
#[test]
fn a_guarded_door_opens_for_certificates_of_its_authority_alone() {
    if !have("openssl") {
        return;
    }
    let (folder, ours) = authority();
    let (_other_folder, theirs) = authority();
    let files = ours.issue("shop", &["shop.test"]);
    let guarded = |ca: &Path| tls(&[&files], &format!(", clientCa: '{}'", ca.display()));
    let serin = one_shop(&[&tls(&[&files], ""), &guarded(&ours.file), &guarded(&theirs.file)]);
    let [open, door, foreign] = [serin.proxy, serin.others[0], serin.others[1]].map(|address| address.port());
    let with =
        |files: &Files| ["-cert", files.cert.to_str().unwrap(), "-key", files.key.to_str().unwrap()].map(str::to_owned);
    let (friend, stranger) =
        (with(&ours.issue("friend", &["friend.test"])), with(&theirs.issue("stranger", &["a.test"])));
    let ask = |port: u16, version: &str, more: &[&str]| {
        shake_hands(port, &[&[version, "-servername", "shop.test"], more].concat())
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let [friend, stranger] = [&friend, &stranger].map(|args| args.each_ref().map(String::as_str));
        let nobody = ask(door, version, &[]);
        assert!(nobody.contains("alert") && !is_served(&nobody), "{version}: {nobody}");
        let refused = ask(door, version, &stranger);
        assert!(refused.contains("alert") && !is_served(&refused), "{version}: {refused}");
        let ticket = |name: &str| folder.path().join(format!("{name}{version}")).to_str().unwrap().to_owned();
        let served = ask(door, version, &[&friend[..], &["-sess_out", &ticket("door")]].concat());
        assert!(is_served(&served), "{version}: {served}");
        // The door's own ticket opens it; no other one does.
        let again = ask(door, version, &["-sess_in", &ticket("door")]);
        assert!(again.contains("\nReused,") && is_served(&again), "{version}: {again}");
        assert!(is_served(&ask(open, version, &["-sess_out", &ticket("open")])));
        for (to, name) in [(door, "open"), (foreign, "open"), (foreign, "door")] {
            let said = ask(to, version, &["-sess_in", &ticket(name)]);
            assert!(!said.contains("\nReused,") && !is_served(&said), "{version} {name}: {said}");
        }
    }
}

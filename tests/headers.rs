//! What the app and the client see (SPEC 2), with an app that echoes its request.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;

use common::app::{Do, Scripted, answering, echo};
use common::http::{exchange, get};
use common::{Serin, eventually};
use serde_json::json;

/// The fields that an echoing app saw, by name.
fn seen(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().skip(2);
    lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.into(), value.trim().into())).collect()
}

fn with_flags(serin: &Serin) {
    serin.does(&["flags", "set", "everybody", "--rollout", "100"]);
    serin.does(&["flags", "set", "Nobody_At.all"]);
    serin.does(&[
        "flags",
        "set",
        "beta",
        "--rules",
        r#"[{"type":"user","value":"u-1"},{"type":"group","value":"testers"}]"#,
    ]);
}

#[test]
fn the_app_sees_exactly_the_fields_of_the_spec() {
    let serin = Serin::start(&format!("stable: 'http://{}'\ncanary: 'http://{}'\n", echo("stable"), echo("canary")));
    with_flags(&serin);
    let fields = "accept: a/b\r\nx-user-id: u-1\r\ncookie: c=d\r\ntraceparent: 00-1-2-03\r\nte: trailers\r\n\
        keep-alive: 9\r\nproxy-connection: x\r\nupgrade: h2c\r\nx-own: 1\r\n";
    let answer = get(serin.proxy, "/a%20b?c=d&e", fields);
    assert!(answer.text().starts_with("stable\nGET /a%20b?c=d&e HTTP/1.1\r\n"), "{}", answer.text());
    let mut seen = seen(&answer.text());
    let id = seen.remove("x-request-id").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    let expected = [
        ("host", "shop.test"),
        ("accept", "a/b"),
        ("cookie", "c=d"),
        ("traceparent", "00-1-2-03"),
        ("x-own", "1"),
        ("x-user-id", "u-1"),
        ("x-serin-track", "stable"),
        ("x-serin-reason", "none"),
        ("x-feature-everybody", "true"),
        ("x-feature-nobody-at-all", "false"),
        // A stranger's user id is passed on and matches no rule.
        ("x-feature-beta", "false"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "shop.test"),
    ];
    assert_eq!(seen, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(answer.header("set-cookie"), None, "nobody needs one");
}

#[test]
fn what_a_client_writes_in_serins_names_is_not_believed() {
    let serin = Serin::start(&format!("stable: 'http://{}'\n", echo("stable")));
    with_flags(&serin);
    let spellings = [
        "x-feature-nobody-at-all",
        "X_Feature_Nobody_At_All",
        "x.feature.beta",
        "feature-flags",
        "Feature_Flags",
        "x-serin-track",
        "X_SERIN_TRACK",
        "x-serin-force",
        "x-forwarded-for",
        "X_Forwarded_For",
        "forwarded",
        "x-real-ip",
    ];
    for name in spellings {
        let fields = format!("{name}: believed\r\nconnection: x-serin-track, x-feature-everybody, x-forwarded-for\r\n");
        let request = format!("GET / HTTP/1.1\r\nhost: shop.test\r\n{fields}\r\n");
        let answer = exchange(serin.proxy, request.as_bytes());
        assert!(!answer.text().contains("believed"), "{name}: {}", answer.text());
        let seen = seen(&answer.text());
        for (own, value) in
            [("x-serin-track", "stable"), ("x-feature-everybody", "true"), ("x-forwarded-for", "127.0.0.1")]
        {
            assert_eq!(seen.get(own).map(String::as_str), Some(value), "{name}: {own}");
        }
    }
}

#[test]
fn a_trailer_cannot_carry_what_a_header_cannot() {
    let app = Scripted::start();
    let serin = Serin::start(&format!("stable: 'http://{}'\n", app.address));
    app.plays(&[
        Do::Await("0\r\n"),
        Do::Pause(100),
        Do::Await("\r\n\r\n"),
        Do::Send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ]);
    let request = "POST / HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n\
        trailer: x-serin-track, X_Feature_A, x-mine\r\n\r\n1\r\na\r\n0\r\nx-serin-track: t1\r\nX_Feature_A: t2\r\nx-mine: t3\r\n\r\n";
    assert_eq!(exchange(serin.proxy, request.as_bytes()).status, 200);
    let seen = eventually("the request", || app.requests().pop());
    assert!(!seen.contains("t1") && !seen.contains("t2"), "{seen}");
}

#[test]
fn a_trusted_peer_is_believed() {
    let config = format!("stable: 'http://{}'\n", echo("stable"));
    let serin = Serin::start_with(&config, ", trustedProxies: [127.0.0.0/8]", &[]);
    with_flags(&serin);
    let fields = "x-user-id: u-1\r\nx-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\nx-forwarded-host: public.test\r\n\
        x-request-id: from-the-edge\r\n";
    let seen = seen(&get(serin.proxy, "/", fields).text());
    let value = |name: &str| seen.get(name).map(String::as_str);
    assert_eq!(value("x-feature-beta"), Some("true"));
    assert_eq!(value("x-forwarded-for"), Some("203.0.113.9, 127.0.0.1"));
    assert_eq!(value("x-forwarded-proto"), Some("https"));
    assert_eq!(value("x-forwarded-host"), Some("public.test"));
    assert_eq!(value("x-request-id"), Some("from-the-edge"));
    let group = get(serin.proxy, "/", "x-user-group: staff, testers\r\n").text();
    assert!(group.contains("x-feature-beta: true"), "{group}");
}

#[test]
fn a_list_of_flags_is_one_field() {
    let config = format!("stable: 'http://{}'\nflags: {{ headers: {{ style: list }} }}\n", echo("stable"));
    let serin = Serin::start(&config);
    serin.does(&["flags", "set", "b", "--rollout", "100"]);
    serin.does(&["flags", "set", "a", "--rollout", "100"]);
    serin.does(&["flags", "set", "c"]);
    let seen = seen(&get(serin.proxy, "/", "").text());
    assert_eq!(seen.get("feature-flags").map(String::as_str), Some("a, b"));
    assert!(!seen.keys().any(|name| name.starts_with("x-feature-")));
}

#[test]
fn a_variable_forces_a_flag_and_other_settings_do_what_they_say() {
    let config = format!(
        "stable: 'http://{}'\nenvironment: staging\n\
         flags: {{ headers: {{ prefix: X-Switch-, expose: [forced, here] }}, environmentPrefix: FF_, environmentRules: match }}\n",
        echo("stable")
    );
    let serin = Serin::start_with(&config, "", &[("FF_FORCED", "true")]);
    serin.does(&["flags", "set", "forced", "--disabled"]);
    serin.does(&["flags", "set", "here", "--rules", r#"[{"type":"environment","value":"staging"}]"#]);
    serin.does(&["flags", "set", "hidden", "--rollout", "100"]);
    let seen = seen(&get(serin.proxy, "/", "x-feature-free: passes\r\nx-switch-forced: false\r\n").text());
    let value = |name: &str| seen.get(name).map(String::as_str);
    assert_eq!(
        (value("x-switch-forced"), value("x-switch-here"), value("x-switch-hidden")),
        (Some("true"), Some("true"), None)
    );
    assert_eq!(value("x-feature-free"), Some("passes"), "another prefix is nobody's");
    assert!(serin.does(&["flags", "eval", "forced"]).contains("on: override"));
}

#[test]
fn an_anonymous_browser_gets_a_cookie_and_keeps_its_place() {
    let serin = Serin::start(&format!("stable: 'http://{}'\ncanary: 'http://{}'\n", echo("stable"), echo("canary")));
    serin.does(&["deploy", "start", "v2"]);
    let first = get(serin.proxy, "/", "sec-fetch-dest: document\r\n");
    let cookie = first.header("set-cookie").expect("a cookie").to_owned();
    assert!(
        cookie.starts_with("serin_id=") && cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
    let pair = cookie.split(';').next().unwrap();
    let track = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    for _ in 0..10 {
        let again = get(serin.proxy, "/", &format!("cookie: {pair}\r\n"));
        assert_eq!(track(&again.text()), track(&first.text()));
        assert_eq!(again.header("set-cookie"), None);
    }
    assert!(get(serin.proxy, "/", "cookie: serin_id=made.up\r\n").header("set-cookie").is_some());
    assert_eq!(get(serin.proxy, "/i.png", "sec-fetch-dest: image\r\n").header("set-cookie"), None);
    assert_eq!(get(serin.proxy, "/", "x-user-id: u\r\n").header("set-cookie"), None);
}

#[test]
fn while_users_are_split_shared_caches_keep_nothing() {
    let app =
        answering(|_| "HTTP/1.1 200 OK\r\ncache-control: public, max-age=60\r\ncontent-length: 0\r\n\r\n".to_owned());
    let serin = Serin::start(&format!("stable: 'http://{app}'\ncanary: 'http://{app}'\n"));
    assert_eq!(get(serin.proxy, "/", "").header("cache-control"), Some("public, max-age=60"));
    serin.does(&["deploy", "start", "v2"]);
    let answer = get(serin.proxy, "/", "");
    assert_eq!(answer.header("cache-control"), Some("private, max-age=60"));
    assert_eq!(answer.header("set-cookie"), None, "not on an answer that caches may keep");
}

#[test]
fn identity_comes_from_where_configuration_says() {
    let config = |identity: &str| {
        format!(
            "stable: 'http://{}'\ncanary: 'http://{}'\nidentity: {{ {identity} }}\n",
            echo("stable"),
            echo("canary")
        )
    };
    let serin = Serin::start(&config(
        "user: [ { header: x-account, trust: true } ], session: [], group: [ { cookie: team, trust: true } ], anonymous: stable",
    ));
    with_flags(&serin);
    serin.does(&["deploy", "start", "v2"]);
    let trusted = get(serin.proxy, "/", "x-account: u-1\r\n").text();
    assert!(trusted.contains("x-feature-beta: true"), "{trusted}");
    assert!(get(serin.proxy, "/", "cookie: team=testers\r\n").text().contains("x-feature-beta: true"));
    for _ in 0..50 {
        let nobody = get(serin.proxy, "/", "");
        assert!(nobody.text().starts_with("stable") && nobody.header("set-cookie").is_none());
        assert!(nobody.text().contains("x-serin-reason: none"));
    }
    let by_address = Serin::start(&config("anonymous: ip"));
    by_address.does(&["deploy", "start", "v2"]);
    let first = get(by_address.proxy, "/", "").text();
    let bucket = by_address.get("/api/assignment?userId=127.0.0.1");
    assert!(first.starts_with(bucket["track"].as_str().unwrap()), "{bucket}");
    let browser = Serin::start(&config("stick: browser"));
    browser.does(&["deploy", "start", "v2"]);
    let signed_in = get(browser.proxy, "/", "x-user-id: u\r\n");
    assert!(signed_in.header("set-cookie").is_some(), "the browser's place outlives the sign-in");
}

#[test]
fn services_are_found_by_host_and_path() {
    let pool = |name| format!("pools: {{ a: {{ endpoints: 'http://{}', version: v7 }} }}, stable: a", echo(name));
    let serin = Serin::start(&format!(
        "services:\n  shop: {{ match: {{ hosts: '*.shop.test' }}, {} }}\n  api: {{ match: {{ hosts: [api.shop.test], path: /v1 }}, {} }}\n  \
         rest: {{ {} }}\n",
        pool("shop"),
        pool("api"),
        pool("rest")
    ));
    for (host, path, service) in [
        ("a.shop.test", "/", "shop"),
        ("API.Shop.Test.:80", "/v1/x", "api"),
        ("api.shop.test", "/%761/x", "api"),
        ("api.shop.test", "/v10", "shop"),
        ("elsewhere", "/v1", "rest"),
    ] {
        let answer = exchange(
            serin.proxy,
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes(),
        );
        assert!(answer.text().starts_with(service), "{host}{path}: {}", answer.text());
        assert!(answer.text().contains("x-serin-version: v7"));
        assert!(answer.text().contains(&format!("GET {path} HTTP/1.1")), "forwarded as it came");
    }
    assert_eq!(serin.api("GET", "/api/deployment", &json!(null)).1["code"], "whichService");
}

#[test]
fn serins_own_answers_are_told_from_the_apps() {
    let serin = Serin::start(&format!("stable: 'http://{}'\n", common::app::nobody()));
    let text = get(serin.proxy, "/", "");
    assert_eq!((text.status, text.header("serin-error")), (502, Some("upstreamConnect")));
    assert!(text.text().starts_with("502 Bad Gateway: "));
    let json = get(serin.proxy, "/", "accept: application/json\r\n");
    assert_eq!(json.header("content-type"), Some("application/problem+json"));
    let problem: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(problem["code"], "upstreamConnect");
}

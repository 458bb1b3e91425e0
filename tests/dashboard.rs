//! The dashboard in a real Chromium, in front of the real binary.
//!
//! Needs Debian's `chromium` and `chromium-driver`; for what is checked of accessibility
//! axe-core as well, which `npm ci` brings with what is in `tests/sdk`. Pictures of all pages are left in
//! `target/tmp/dashboard`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::print_stderr)]

mod common;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::app::{answering, echo};
use common::browser::{Browser, ENTER, ESCAPE, LEFT, TAB};
use common::http::get;
use common::traffic::Traffic;
use common::{Serin, eventually, have, signal};
use rustix::process::Signal;
use serde_json::{Value, json};

fn browsers() -> bool {
    have("chromium") && have("chromedriver")
}

/// An app that can be told to fail.
fn app(fails: &Arc<AtomicBool>) -> SocketAddr {
    let fails = Arc::clone(fails);
    answering(move |_| {
        let status = if fails.load(Ordering::Relaxed) { "500 Internal Server Error" } else { "200 OK" };
        format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")
    })
}

const STAGES: &str = "deploy: { stages: [ \
    { percentage: 10, duration: 2s, minRequests: 20, maxErrorRate: 0.05 }, \
    { percentage: 50, duration: 2s, minRequests: 20, maxErrorRate: 0.05 }, \
    { percentage: 100, duration: 0, minRequests: 0, maxErrorRate: 0.05 } ], bake: 1s }";

/// Users who ask while a test looks on; they end with it.
struct Users {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Users {
    fn of(serin: &Serin) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (proxy, stopped) = (serin.proxy, Arc::clone(&stop));
        let traffic = Traffic { proxy, rate: 200, users: 500, patience: Duration::from_secs(5), seed: 7 };
        let thread = std::thread::spawn(move || drop(traffic.flows(&stopped)));
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Something of this colour is drawn in a chart.
fn draws(browser: &Browser, chart: &str, color: &str) {
    let drawn = format!(
        "const figure = [...document.querySelectorAll('figure')].find((f) => f.innerText.startsWith({chart}));
         const canvas = figure?.querySelector('canvas');
         if (!canvas) return 0;
         const style = getComputedStyle(document.documentElement).getPropertyValue({color}).trim();
         const wanted = [1, 3, 5].map((at) => parseInt(style.slice(at, at + 2), 16));
         const {{ data }} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
         let found = 0;
         for (let at = 0; at < data.length; at += 4)
           if (data[at + 3] > 200 && wanted.every((part, index) => Math.abs(data[at + index] - part) < 12)) found += 1;
         return found;",
        chart = json!(chart),
        color = json!(color),
    );
    eventually(&format!("{chart} in {color}"), || (browser.js(&drawn).as_u64()? > 20).then_some(()));
}

#[test]
fn a_rollout_is_watched_to_its_end_and_the_next_one_back() {
    if !browsers() {
        return;
    }
    let fails = [Arc::default(), Arc::default()];
    let serin = Serin::start(&format!(
        "services: {{ shop: {{ pools: {{ blue: {{ endpoints: 'http://{}', version: v1 }}, green: {{ endpoints: \
         'http://{}' }} }}, stable: blue, canary: green, {STAGES} }} }}",
        app(&fails[0]),
        app(&fails[1])
    ));
    let _users = Users::of(&serin);
    let browser = Browser::open(serin.admin, &[]);
    browser.sees(".card", "v1 on blue for everybody");
    browser.sees(".connection", "live");
    browser.press("shop");
    browser.press("Start a deployment…");
    browser.write("dialog [name=version]", "v2");
    browser.press("Start");
    browser.sees(".what", "v2 on green for 10 % of users; stable is v1 on blue");
    browser.sees(".stages [aria-current=step]", "10 %");
    browser.sees(".wait", "next stage in");
    browser.sees(".what", "v2 on green for 50 % of users");
    for (chart, color) in [
        ("Error rate", "--canary"),
        ("Latency", "--canary"),
        ("Requests", "--canary"),
        ("Evidence", "--canary"),
        ("Evidence", "--bad"),
    ] {
        draws(&browser, chart, color);
    }
    browser.sees(".tracks tr:nth-child(2)", "canary");
    browser.size(1300, 1600);
    browser.picture("rollout");
    browser.sees(".what", "v2 on green for everybody");
    browser.sees(".history", "completed");
    for event in ["v2 goes to 10 % of users", "stage 2 began: 50 % of users", "v2 is stable now"] {
        browser.sees(".timeline", event);
    }

    fails[0].store(true, Ordering::Relaxed);
    browser.press("Start a deployment…");
    browser.write("dialog [name=version]", "v3");
    browser.keys("dialog [name=version]", ENTER);
    browser.sees(".decision", "v3 was rolled back");
    let said = browser.text(".decision");
    let decided = &serin.get("/api/services/shop/deployments")["deployments"][0]["decision"];
    assert!(said.contains(decided["text"].as_str().unwrap()), "the verdict's own sentence: {said}");
    assert!(said.contains("GET /"), "where it failed: {said}");
    browser.sees(".what", "v2 on green for everybody");
    browser.sees(".guards", "proven");
    browser.sees(".history", "rolled back");
    draws(&browser, "Evidence", "--bad");
    browser.picture("rolled-back");
    assert_eq!(browser.console(), [""; 0]);
}

#[test]
fn what_hurts_asks_first_and_every_verb_works() {
    if !browsers() {
        return;
    }
    let serin = Serin::start(&format!(
        "services: {{ shop: {{ pools: {{ blue: {{ endpoints: 'http://{0}', version: v1 }}, green: {{ endpoints: \
         'http://{0}' }} }}, stable: blue, canary: green }} }}",
        echo("app")
    ));
    let status = |wanted: &str| {
        eventually(wanted, || (serin.deployment()["status"] == wanted).then_some(()));
    };
    let browser = Browser::open(serin.admin, &[]);
    browser.go("/#/services/shop");
    serin.does(&["deploy", "start", "other"]);
    browser.press("Pause");
    status("paused");
    browser.sees(".wait", "paused");
    browser.press("Resume");
    status("in_progress");
    browser.press("Advance");
    browser.sees(".what", "50 %");
    // Enter alone does nothing where it hurts: the focus is on the way out.
    browser.press("Roll back…");
    browser.sees("dialog", "Everybody goes back to v1");
    browser.picture("confirmation");
    browser.key(ENTER);
    eventually("no dialog", || (browser.text("dialog").is_empty()).then_some(()));
    assert_eq!(serin.deployment()["status"], "in_progress");
    assert_eq!(browser.js("return document.activeElement.textContent"), "Roll back…", "the focus comes back");
    browser.press("Roll back…");
    browser.write("dialog [name=reason]", "<img src=x onerror=alert(1)>");
    browser.press("Roll back");
    browser.sees(".decision", "other was ended by hand");
    browser.sees(".decision", "<img src=x onerror=alert(1)>");
    browser.sees(".timeline", "<img src=x onerror=alert(1)>");
    assert_eq!(browser.js("return document.querySelectorAll('main img').length"), 0, "text is text");
    browser.press("Retry…");
    browser.press("Retry");
    status("in_progress");
    browser.press("Promote…");
    browser.press("Promote");
    browser.sees(".what", "other on green");
    browser.sees(".pill", "no deployment");
    browser.press("Undo…");
    browser.press("Undo");
    browser.sees(".what", "blue");
    assert_eq!(browser.console(), [""; 0]);
}

#[test]
fn a_flags_change_is_in_the_next_request() {
    if !browsers() {
        return;
    }
    let serin = Serin::start(&format!("stable: http://{}", echo("app")));
    let header = |user: &str, name: &str| {
        let seen = get(serin.proxy, "/", &format!("x-user-id: {user}\r\n")).text();
        let prefix = format!("x-feature-{name}: ");
        seen.lines().find_map(|line| line.strip_prefix(prefix.as_str()).map(str::to_owned))
    };
    let browser = Browser::open(serin.admin, &[]);
    browser.press("Flags");
    browser.press("New flag…");
    browser.write("dialog [name=name]", "new-cart");
    browser.write("dialog [name=description]", "The cart <b>anew</b>");
    browser.write("dialog [name=rolloutPercentage]", "100");
    browser.press("Save");
    browser.sees(".flags", "The cart <b>anew</b>");
    assert_eq!(header("anna", "new-cart").as_deref(), Some("true"));
    browser.click(".flags [role=switch]");
    eventually("off", || {
        (browser.js("return document.querySelector('[role=switch]').ariaChecked") == "false").then_some(())
    });
    assert_eq!(header("anna", "new-cart").as_deref(), Some("false"), "the next request");
    // By keys alone.
    browser.js("document.querySelector('[role=switch]').focus()");
    browser.key(" ");
    eventually("on again", || (header("anna", "new-cart")? == "true").then_some(()));
    browser.keys("input[type=range]", LEFT);
    eventually("the slider", || (serin.get("/api/flags/new-cart")["rolloutPercentage"] == 99).then_some(()));
    browser.sees(".rollout output", "99 %");

    // The editor: a rule, variants, and what is wrong is said without losing it.
    browser.press("new-cart");
    browser.press("Add a rule");
    browser.keys("dialog [aria-label='value of rule']", "anna, bert");
    browser.press("Variants");
    browser.write("dialog [name=variants]", "{\"red\"");
    browser.press("Save");
    browser.sees("dialog .problem", "variants:");
    browser.write("dialog [name=variants]", r##"{"red": {"value": "#f00", "weight": 1}}"##);
    browser.picture("editor");
    browser.press("Save");
    browser.sees(".flags .labels", "1 rule");
    let stored = serin.get("/api/flags/new-cart");
    assert_eq!(stored["rules"], json!([{ "type": "user", "value": ["anna", "bert"] }]));
    assert_eq!(header("anna", "new-cart").as_deref(), Some("#f00"));

    // Somebody else has changed it meanwhile.
    browser.press("new-cart");
    browser.write("dialog [name=description]", "mine");
    serin.does(&["flags", "set", "new-cart", "--description", "theirs", "--rollout", "0"]);
    browser.press("Save");
    browser.sees("dialog .problem", "changed");
    browser.press("Cancel");
    browser.sees(".flags", "theirs");

    browser.press("new-cart");
    browser.press("Start a ramp");
    browser.sees("dialog fieldset", "Stage 1");
    browser.press("Cancel");
    browser.sees(".flags .labels", "ramp");
    browser.press("new-cart");
    browser.press("Delete this flag…");
    browser.press("Delete");
    browser.sees("main", "There are no flags yet.");
    assert_eq!(header("anna", "new-cart"), None);
    let said = browser.console();
    assert!(said.len() == 1 && said[0].contains("412"), "the stale write, and nothing else: {said:?}");
}

#[test]
fn an_id_is_explained_like_the_proxy_treats_it() {
    if !browsers() {
        return;
    }
    let serin = Serin::start(&format!("stable: http://{0}\ncanary: http://{0}", echo("app")));
    serin.does(&["flags", "set", "half", "--rollout", "50"]);
    serin.does(&["flags", "set", "named", "--rules", r#"[{"type": "user", "value": "anna"}]"#]);
    serin.does(&["deploy", "start", "v2"]);
    let browser = Browser::open(serin.admin, &[]);
    browser.press("Try an id");
    for user in ["anna", "user-456", "user-123"] {
        browser.write("[name=userId]", user);
        browser.press("Try");
        browser.sees(".answer h2", user);
        let told = get(serin.proxy, "/", &format!("x-user-id: {user}\r\n")).text();
        let track = told.lines().find_map(|line| line.strip_prefix("x-serin-track: ")).unwrap();
        browser.sees(".answer .pill", track);
        browser.sees(".answer", "of 10,000");
        for flag in ["half", "named"] {
            let on = serin.cli(&["flags", "eval", flag, "--user", user]);
            let on = String::from_utf8(on.stdout).unwrap().contains(" is on");
            browser.sees(".explained", &format!("{}\t{flag}", if on { "on" } else { "off" }));
        }
    }
    browser.picture("explained");
    assert_eq!(browser.console(), [""; 0]);
}

const TOKENS: &str = "admin: { address: '127.0.0.1:0', tokens: [ { name: ci, env: W, role: write }, \
    { name: wall, env: R, role: read }, { name: app, env: O, role: record } ] }";

const VARIABLES: [(&str, &str); 3] =
    [("W", "write-token-0123456789"), ("R", "read-token-0123456789"), ("O", "record-token-0123456789")];

#[test]
fn who_may_only_read_sees_no_buttons_and_a_token_is_in_no_address() {
    if !browsers() {
        return;
    }
    let app = echo("app");
    let serin = Serin::start_bare(&format!("{TOKENS}\nstable: http://{app}\ncanary: http://{app}"), &VARIABLES);
    let browser = Browser::open(serin.admin, &[]);
    let enter = |token: &str| {
        browser.write("[name=token]", token);
        browser.keys("[name=token]", ENTER);
    };
    browser.sees("main", "Sign in");
    browser.picture("sign-in");
    for (wrong, said) in [("nonsense", "not known"), ("record-token-0123456789", "may")] {
        enter(wrong);
        browser.sees(".problem", said);
        assert_eq!(browser.js("return sessionStorage.length"), 0, "it is forgotten");
    }
    enter("write-token-0123456789");
    browser.sees("#caller", "ci (write)");
    browser.press("Flags");
    browser.press("New flag…");
    browser.write("dialog [name=name]", "beta");
    browser.press("Save");
    browser.sees(".flags", "beta");
    browser.go("/#/services/default");
    browser.sees("main", "Start a deployment…");
    browser.press("Sign out");
    enter("read-token-0123456789");
    browser.sees("#caller", "wall (read)");
    let buttons = "return [...document.querySelectorAll('main button, main input:not([type=search], [type=checkbox])')]\
                   .filter((e) => e.checkVisibility()).map((e) => e.textContent || e.type)";
    for (page, part) in [("#/flags", "beta"), ("#/services/default", "Timeline")] {
        browser.go(&format!("/{page}"));
        browser.sees("main", part);
        assert_eq!(browser.js(buttons), json!([]), "{page}");
    }
    let places = browser.js("return [location.href, document.cookie, JSON.stringify(localStorage), \
         ...performance.getEntriesByType('resource').map((entry) => entry.name)].join(' ')");
    assert!(!places.as_str().unwrap().contains("token-0123456789"), "{places}");
    assert!(places.as_str().unwrap().contains("/api/events"), "changes come by a stream: {places}");
    let (_, rest): (Vec<_>, Vec<_>) = browser.console().into_iter().partition(|line| line.contains("/api/caller"));
    assert_eq!(rest, [""; 0]);
}

#[test]
fn what_was_shown_is_what_is_changed() {
    if !browsers() {
        return;
    }
    let serin = Serin::start(&format!("stable: http://{0}\ncanary: http://{0}", echo("app")));
    serin.does(&["deploy", "start", "a"]);
    let browser = Browser::open(serin.admin, &[]);
    browser.go("/#/services/default");
    for (verb, confirm) in [("Promote…", "Promote"), ("Roll back…", "Roll back")] {
        let before = serin.deployment()["version"].as_str().unwrap().to_owned();
        browser.press(verb);
        browser.sees("dialog h2", &before);
        serin.does(&["deploy", "start", &format!("{before}{before}")]);
        browser.sees(".what", &format!("{before}{before} on"));
        browser.press(confirm);
        eventually("a refusal", || (!browser.text("dialog .problem").is_empty()).then_some(()));
        browser.press("Cancel");
        assert_eq!(serin.deployment()["version"], format!("{before}{before}"));
        assert_eq!(serin.deployment()["currentPercentage"], 10);
    }
    // One that begins and ends between two looks stands in the history all the same.
    serin.does(&["deploy", "rollback"]);
    serin.does(&["deploy", "start", "quick", "--strategy", "instant", "--bake", "0s"]);
    browser.sees(".history", "quick");
    browser.sees(".timeline", "quick is stable now");

    // Saving what nobody has touched changes nothing, whatever ids look like.
    let rules = json!([{ "type": "user", "value": ["a,b", "c"] }, { "type": "group", "value": " lead " },
        { "type": "user", "value": ["one"] }]);
    let flag = json!({ "enabled": true, "rolloutPercentage": 12.34, "rules": rules });
    assert_eq!(serin.api("PUT", "/api/flags/odd", &flag).0, 200);
    browser.press("Flags");
    browser.sees(".rollout output", "12.34 %");
    browser.press("odd");
    browser.press("Save");
    eventually("no dialog", || browser.text("dialog").is_empty().then_some(()));
    let stored = serin.get("/api/flags/odd");
    assert_eq!((&stored["rules"], &stored["rolloutPercentage"]), (&rules, &json!(12.34)));
    assert!(stored.get("description").is_none(), "{stored}");
    browser.press("odd");
    browser.write("dialog [name=rolloutPercentage]", "");
    browser.press("Save");
    browser.sees("dialog .problem", "a percentage");
    browser.press("Cancel");
    assert_eq!(serin.get("/api/flags/odd")["rolloutPercentage"], 12.34, "nothing is not 0");

    // Addresses that lead nowhere, and the way to the content.
    for nowhere in ["#/services/%E0%A4%A", "#/nope", "#/services/a/b"] {
        browser.go(&format!("/{nowhere}"));
        browser.sees("main", "There is no such page.");
    }
    browser.go("/#/flags");
    browser.js("document.querySelector('.skip').focus()");
    browser.key(ENTER);
    eventually("the content", || (browser.js("return document.activeElement.id") == "main").then_some(()));
    browser.sees("h1", "Flags");
    let (_, rest): (Vec<_>, Vec<_>) = browser.console().into_iter().partition(|line| line.contains("412"));
    assert_eq!(rest, [""; 0]);
}

#[test]
fn a_token_that_is_taken_away_ends_the_session() {
    if !browsers() {
        return;
    }
    let app = echo("app");
    let serin = Serin::start_bare(&format!("{TOKENS}\nstable: http://{app}"), &VARIABLES);
    let browser = Browser::open(serin.admin, &[]);
    browser.write("[name=token]", "read-token-0123456789");
    browser.keys("[name=token]", ENTER);
    browser.sees("#caller", "wall (read)");
    browser.go("/#/flags");
    browser.sees("main", "There are no flags yet.");
    let state = serin.folder.path().join("state");
    serin.write_text(&format!(
        "state: {{ directory: '{}' }}\nlisteners: [ {{ address: '127.0.0.1:0' }} ]\nadmin: {{ address: '127.0.0.1:0', \
         tokens: [ {{ name: ci, env: W, role: write }} ] }}\nstable: http://{app}\n",
        state.display()
    ));
    browser.sees("main", "Sign in");
    browser.sees(".problem", "not known any more");
    assert_eq!(browser.js("return sessionStorage.length"), 0);
    assert_eq!(browser.text("#told"), "", "and is told nothing more");
}

#[test]
fn a_lost_connection_is_said_and_found_again() {
    if !browsers() {
        return;
    }
    // It has to come back where it was.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut serin = Serin::start_bare(&format!("admin: {{ address: '{free}' }}\nstable: http://{}", echo("app")), &[]);
    serin.does(&["flags", "set", "one", "--rollout", "5"]);
    let browser = Browser::open(serin.admin, &[]);
    browser.go("/#/flags");
    browser.sees(".flags", "one");
    serin.kill();
    browser.sees("#lost", "The connection is lost");
    browser.sees(".connection", "no connection");
    browser.sees(".flags", "one");
    browser.picture("lost");
    serin.start_again();
    browser.sees(".connection", "live");
    browser.sees_no("body", "The connection is lost");
    // Nothing was missed, and changes come again.
    serin.does(&["flags", "set", "two", "--rollout", "5"]);
    browser.sees(".flags", "two");
    // A process that does not answer is as good as none.
    serin.signal(Signal::STOP);
    browser.sees("#lost", "The connection is lost");
    signal(serin.pid(), Signal::CONT);
    browser.sees(".connection", "live");
    let (_, rest): (Vec<_>, Vec<_>) = browser.console().into_iter().partition(|line| line.contains("net::ERR_"));
    assert_eq!(rest, [""; 0]);
}

#[test]
fn two_hundred_flags_and_twenty_services_stay_smooth() {
    if !browsers() {
        return;
    }
    let app = echo("app");
    let services: Vec<String> = (0..20)
        .map(|n| {
            format!(
                "s{n:02}: {{ match: {{ path: /s{n:02} }}, pools: {{ a: {{ endpoints: 'http://{app}' }}, b: {{ \
                 endpoints: 'http://{app}' }} }}, stable: a, canary: b }}"
            )
        })
        .collect();
    let few = "flags: { headers: { expose: [flag-000] } }";
    let serin = Serin::start(&format!("services: {{ {} }}\n{few}", services.join(", ")));
    for n in 0..20 {
        serin.does(&["deploy", "start", "v2", "--service", &format!("s{n:02}")]);
    }
    let flags: serde_json::Map<String, Value> = (0..200)
        .map(|n| {
            let flag = json!({ "name": format!("flag-{n:03}"), "enabled": true, "rolloutPercentage": n % 100, "rules": [],
                "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z" });
            (format!("flag-{n:03}"), flag)
        })
        .collect();
    let (status, answer) = serin.api("POST", "/api/import/flags", &json!({ "document": { "flags": flags } }));
    assert_eq!(status, 200, "{answer}");
    let browser = Browser::open(serin.admin, &[]);
    browser.sees(".bar", "20 services, 20 with a deployment");
    // A second that brings nothing new touches nothing: no element comes or goes, so no focus
    // is lost, and nobody's screen reader begins anew. And nothing takes longer than a blink.
    browser.js(
        "window.came = 0; window.longest = 0;
         new MutationObserver((all) => all.forEach((one) => {
           if (one.type === 'childList') came += [...one.addedNodes, ...one.removedNodes].filter((n) => n.nodeType === 1).length;
         })).observe(document.getElementById('main'), { childList: true, subtree: true });
         new PerformanceObserver((list) => list.getEntries().forEach((one) => longest = Math.max(longest, one.duration)))
           .observe({ type: 'longtask' });",
    );
    let asked =
        "return performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/api/services')).length";
    let before = browser.js(asked).as_u64().unwrap();
    eventually("five seconds of it", || (browser.js(asked).as_u64()? >= before + 5).then_some(()));
    assert_eq!(browser.js("return came"), 0);
    browser.picture("services");
    browser.press("Flags");
    browser.sees(".bar", "200 flags, 200 enabled");
    browser.picture("flags");
    browser.js("window.came = 0");
    serin.does(&["flags", "rollout", "flag-000", "77"]);
    browser.sees(".flags tr:first-child output", "77 %");
    assert_eq!(browser.js("return came"), 0, "one flag's change is a change of one text");
    let typed = Instant::now();
    browser.keys("input[type=search]", "flag-19");
    browser.sees(".flags tbody", "flag-199");
    assert_eq!(browser.js("return document.querySelectorAll('.flags tbody tr').length"), 10);
    let longest = browser.js("return longest").as_f64().unwrap();
    eprintln!("the longest task took {longest:.0} ms, a search {:?} with its typing", typed.elapsed());
    assert!(longest < 500.0, "{longest} ms without an answer to anything");
    assert_eq!(browser.console(), [""; 0]);
}

// ---------------------------------------------------------------- accessibility

fn axe() -> Option<String> {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sdk");
    let folder = std::env::var_os("SERIN_SDK_FOLDER").map_or_else(usual, PathBuf::from);
    let found = std::fs::read_to_string(folder.join("node_modules/axe-core/axe.min.js")).ok();
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "axe-core is missing, and this is CI");
    if found.is_none() {
        eprintln!("SKIPPED: axe-core is not installed: npm ci with what is in tests/sdk");
    }
    found
}

/// What axe finds that is serious, of all its rules.
fn violations(browser: &Browser, axe: &str) -> Value {
    browser.js(axe);
    browser.js_later(
        "const { violations } = await axe.run(document, { resultTypes: ['violations'] });
         return violations.filter((v) => ['serious', 'critical'].includes(v.impact))
           .map((v) => `${v.id}: ${v.nodes.map((n) => n.html + ' ' + n.failureSummary).slice(0, 3).join(' | ')}`);",
    )
}

#[test]
fn every_page_is_for_everybody() {
    let (true, Some(axe)) = (browsers(), axe()) else { return };
    let fails = Arc::new(AtomicBool::new(true));
    let (good, bad) = (app(&Arc::default()), app(&fails));
    let serin = Serin::start_bare(
        &format!(
            "{TOKENS}\nservices: {{ shop: {{ match: {{ path: / }}, pools: {{ blue: {{ endpoints: 'http://{good}', \
             version: v1 }}, green: {{ endpoints: 'http://{bad}' }} }}, stable: blue, canary: green }}, \
             cart: {{ match: {{ path: /cart }}, pools: {{ a: {{ endpoints: 'http://{good}' }}, b: {{ endpoints: \
             'http://{good}' }} }}, stable: a, canary: b }} }}"
        ),
        &VARIABLES,
    );
    for scheme in ["light", "dark"] {
        let args: &[&str] =
            if scheme == "dark" { &["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] } else { &[] };
        let browser = Browser::open(serin.admin, args);
        browser.js(&format!("localStorage.setItem('serin-theme', '{scheme}')"));
        browser.go("/");
        let check = |page: &str| {
            browser.picture(&format!("{scheme}-{page}"));
            assert_eq!(violations(&browser, &axe), json!([]), "{scheme} {page}");
        };
        browser.sees("main", "Sign in");
        check("sign-in");
        browser.write("[name=token]", "write-token-0123456789");
        browser.keys("[name=token]", ENTER);
        browser.sees(".cards", "shop");
        if scheme == "light" {
            let token = "write-token-0123456789";
            let call = |method: &str, path: &str, body: Value| {
                let done = browser.js_later(&format!(
                    "const answer = await fetch('{path}', {{ method: '{method}', body: {body:?}, headers: {{ \
                     'content-type': 'application/json', authorization: 'Bearer {token}' }} }}); return answer.status",
                    body = body.to_string()
                ));
                assert!(done.as_u64().is_some_and(|status| status < 300), "{path}: {done}");
            };
            call("POST", "/api/services/cart/deployments", json!({ "version": "v2" }));
            call("POST", "/api/services/shop/deployments", json!({ "version": "v2" }));
            let rules = json!([{ "type": "group", "value": ["beta", "staff"] }]);
            let flag = json!({ "enabled": true, "rolloutPercentage": 25, "rules": rules, "description": "What it is" });
            call("PUT", "/api/flags/new-dashboard", flag);
            call("PUT", "/api/flags/old", json!({ "enabled": false, "rolloutPercentage": 0 }));
            let _users = Users::of(&serin);
            browser.sees(".cards", "v1 on blue for everybody");
        }
        browser.sees(".cards", "v2 on b for 10 % of users");
        check("services");
        browser.go("/#/services/shop");
        browser.sees(".decision", "v2 was rolled back");
        browser.sees("figure", "Evidence");
        browser.size(1300, 1700);
        check("service");
        browser.size(420, 900);
        check("service-narrow");
        let wider = browser.js("return document.documentElement.scrollWidth > innerWidth");
        assert_eq!(wider, false, "nobody scrolls sideways on a telephone");
        browser.go("/#/flags");
        browser.sees(".flags", "new-dashboard");
        check("flags-narrow");
        browser.size(1300, 1000);
        check("flags");
        browser.press("new-dashboard");
        browser.sees("dialog", "Guarded ramp");
        check("editor");
        browser.key(ESCAPE);
        browser.go("/#/explain");
        browser.write("[name=userId]", "anna");
        browser.press("Try");
        browser.sees(".answer", "the rollout");
        check("explain");
    }
}

#[test]
fn everything_is_reached_by_keys() {
    if !browsers() {
        return;
    }
    let serin = Serin::start(&format!("stable: http://{0}\ncanary: http://{0}", echo("app")));
    serin.does(&["flags", "set", "one", "--rollout", "5"]);
    let browser = Browser::open(serin.admin, &[]);
    browser.sees(".cards", "default");
    let focus = || browser.js("return document.activeElement.textContent.trim()").as_str().unwrap().to_owned();
    let tab_to = |wanted: &str| {
        for _ in 0..30 {
            browser.key(TAB);
            if focus() == wanted {
                return;
            }
        }
        panic!("{wanted} is not reached by Tab");
    };
    browser.js("document.activeElement.blur()");
    browser.key(TAB);
    assert_eq!(focus(), "Skip to content");
    tab_to("default");
    browser.key(ENTER);
    browser.sees("h1", "default");
    tab_to("Start a deployment…");
    browser.key(ENTER);
    browser.sees("dialog", "Version");
    browser.key("v");
    browser.key("2");
    browser.key(ENTER);
    browser.sees(".what", "v2 on");
    tab_to("Flags");
    browser.key(ENTER);
    browser.sees(".flags", "one");
    tab_to("one");
    browser.key(ENTER);
    browser.sees("dialog", "Flag one");
    browser.key(ESCAPE);
    eventually("no dialog", || browser.text("dialog").is_empty().then_some(()));
    assert_eq!(focus(), "one", "where it was");
}

#[test]
fn the_files_are_guarded_by_their_fields() {
    let serin = Serin::start(&format!("stable: http://{}", echo("app")));
    let ask = |fields: &str| get_admin(serin.admin, "/", fields);
    let page = ask("");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let tag = page.header("etag").unwrap().to_owned();
    assert_eq!(ask(&format!("if-none-match: {tag}\r\n")).status, 304);
    assert_eq!(get_host(serin.admin, "/", "evil.example").status, 421, "a rebound name");
    // Nothing of it is from elsewhere.
    let text = page.text();
    let files = text.split('"').filter(|part| part.starts_with("/dashboard/")).collect::<Vec<_>>();
    assert!(files.len() >= 5 && !text.contains("http://") && !text.contains("https://"), "{text}");
    for file in files {
        assert_eq!(get_admin(serin.admin, file, "").status, 200, "{file}");
    }
}

fn get_admin(admin: SocketAddr, path: &str, fields: &str) -> common::http::Answer {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\n{fields}connection: close\r\n\r\n");
    common::http::exchange(admin, request.as_bytes())
}

fn get_host(admin: SocketAddr, path: &str, host: &str) -> common::http::Answer {
    common::http::exchange(
        admin,
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes(),
    )
}

//! Flags of other tools: flagd's files give the same answers as its own evaluator, and the
//! guide's file comes in as it is.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::print_stderr)]

mod common;
#[path = "import/targeting.rs"]
mod targeting;

use std::path::PathBuf;
use std::process::Command;

use common::Serin;
use common::app::echo;
use serde_json::{Map, Value, json};
use serin::decide::flags::{CompiledFlag, Context, EnvironmentRules, Flag, JsonAttributes, SplitHash, Surroundings};
use serin::flagd;
use serin::simulate::Random;

const CONTEXTS: usize = 10_000;

fn document() -> Value {
    serde_json::from_str(&std::fs::read_to_string("tests/import/flagd.json").unwrap()).unwrap()
}

/// Whoever asks: every attribute in every shape, or not at all.
fn context(random: &mut Random) -> Map<String, Value> {
    let pick = |random: &mut Random, values: &[Value]| values[random.below(values.len())].clone();
    let user = format!("user-{}", random.below(100_000));
    let email = format!(
        "{}{}@{}",
        ["ra", "mo", "ü"][random.below(3)],
        random.below(1_000),
        ["faas.com", "b.org"][random.below(2)]
    );
    let age = random.below(100);
    let rows = [
        ("targetingKey", vec![json!(user), json!(user), json!(user), json!("jürgen"), json!("")]),
        ("email", vec![json!(email), json!(email), json!(email), json!(""), json!(7), json!(null)]),
        (
            "age",
            vec![
                json!(age),
                json!(age),
                json!(30),
                json!(30.0),
                json!("30"),
                json!(" 30 "),
                json!(age.to_string()),
                json!(0),
                json!(17.5),
                json!("old"),
                json!(true),
                json!(false),
                json!(null),
                json!(-1),
            ],
        ),
        (
            "plan",
            vec![
                json!("gold"),
                json!("silver"),
                json!("free"),
                json!(30),
                json!("30"),
                json!(true),
                json!(1),
                json!(null),
            ],
        ),
        (
            "beta",
            vec![
                json!(true),
                json!(false),
                json!(0),
                json!(1),
                json!(""),
                json!("0"),
                json!("1"),
                json!("true"),
                json!(null),
            ],
        ),
        (
            "tags",
            vec![
                json!(["beta", "x"]),
                json!(["x", 7]),
                json!([]),
                json!("a beta tag"),
                json!("7 of 9"),
                json!(["7"]),
                json!(7),
            ],
        ),
        (
            "version",
            vec![
                json!("1.2.3"),
                json!("v1.2.0"),
                json!("1.2"),
                json!("1"),
                json!("2.0.0-rc.1"),
                json!("1.2.3+build"),
                json!("latest"),
                json!("0.9.9"),
                json!(1.2),
                json!(2),
                json!("1.2.3.4"),
                json!(""),
            ],
        ),
        ("address", vec![json!({ "country": "at" }), json!({ "country": "de" }), json!({}), json!("at")]),
    ];
    let mut context = Map::new();
    for (name, values) in rows {
        if random.below(6) > 0 {
            context.insert(name.to_owned(), pick(random, &values));
        }
    }
    context
}

fn compiled(flag: &Flag) -> CompiledFlag {
    let surroundings =
        Surroundings { home: "production", reading: EnvironmentRules::Restrict, forced: None, ramp: None };
    CompiledFlag::new(flag, &surroundings, |_| None)
}

fn evaluated(flag: &CompiledFlag, context: &Map<String, Value>) -> Value {
    let attributes = JsonAttributes(context);
    let id = context.get("targetingKey").and_then(Value::as_str).filter(|id| !id.is_empty());
    let now = jiff::Timestamp::now().as_millisecond();
    let context = Context { id, attributes: Some(&attributes), unix_millis: now, ..Context::default() };
    let found = flag.evaluate(&context);
    flag.variant(&found).map_or(Value::Null, |(name, value)| json!([name, value]))
}

/// Where a version of flagd's evaluator is installed, if it is.
fn reference(version: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../flagd").join(version);
    let there = folder.join("openfeature").is_dir();
    let skipped = format!("openfeature-flagd-core {version} is not in {}", folder.display());
    assert!(there || std::env::var_os("CI").is_none(), "{skipped}");
    if !there {
        eprintln!("SKIPPED: {skipped}: python3 -m pip install --target … openfeature-flagd-core=={version}");
    }
    there.then_some(folder)
}

fn ask_reference(folder: &PathBuf, document: &Value, contexts: &[Map<String, Value>], flags: &[String]) -> Vec<Value> {
    let asked = tempfile::NamedTempFile::new().unwrap();
    let text = json!({ "document": document, "contexts": contexts, "flags": flags }).to_string();
    std::fs::write(asked.path(), text).unwrap();
    let output = Command::new("python3")
        .arg("tests/import/reference.py")
        .env("PYTHONPATH", folder)
        .stdin(std::fs::File::open(asked.path()).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn same_as_flagd(version: &str, hash: SplitHash) {
    let Some(folder) = reference(version) else { return };
    let flags = flagd::import(&document(), hash).unwrap();
    assert!(flags.len() >= 30);
    let mut random = Random::new(8);
    let contexts: Vec<Map<String, Value>> = (0..CONTEXTS).map(|_| context(&mut random)).collect();
    let names: Vec<String> = flags.iter().map(|flag| flag.name.to_string()).collect();
    let expected = ask_reference(&folder, &document(), &contexts, &names);
    let mut different = Vec::new();
    for (flag, name) in flags.iter().map(compiled).zip(&names) {
        let mut answers = std::collections::BTreeSet::new();
        for (context, expected) in contexts.iter().zip(&expected) {
            let found = evaluated(&flag, context);
            if found != expected[name] {
                different.push(format!("{name} for {}: {found}, flagd says {}", json!(context), expected[name]));
            }
            answers.insert(found.to_string());
        }
        let one_answer =
            ["color-by-nothing", "static-on", "static-empty", "disabled", "launched", "far-away", "own-key"];
        assert!(
            answers.len() > 1 || one_answer.contains(&name.as_str()),
            "{name} has one answer: a test that cannot fail"
        );
    }
    let (count, first) = (different.len(), different.iter().take(12).cloned().collect::<Vec<_>>());
    assert!(different.is_empty(), "{count} of {} differ:\n{}", CONTEXTS * names.len(), first.join("\n"));
}

#[test]
fn an_imported_file_answers_like_flagd_did_until_2026() {
    same_as_flagd("1.0.0", SplitHash::Text);
}

#[test]
fn an_imported_file_answers_like_flagd_does_since() {
    same_as_flagd("2.0.0", SplitHash::Cbor);
}

/// Of targeting that comes at random what can be expressed is expressed rightly.
fn random_targeting_is_the_same(version: &str, hash: SplitHash) {
    let Some(folder) = reference(version) else { return };
    let seed = std::env::var("SEED").map_or(21, |seed| seed.parse().unwrap());
    let mut random = Random::new(seed);
    let (mut flags, mut imported) = (Map::new(), Vec::new());
    let mut asked = 0;
    while flags.len() < 1_500 {
        asked += 1;
        let name = format!("flag-{asked}");
        let flag = targeting::flag(&mut random);
        if let Ok(mut found) = flagd::import(&json!({ "flags": { (&name): &flag } }), hash) {
            imported.append(&mut found);
            flags.insert(name, flag);
        }
    }
    assert!(asked < 6_000, "one of four at least is expressed: {asked}");
    let contexts: Vec<Map<String, Value>> = (0..200).map(|_| context(&mut random)).collect();
    let names: Vec<String> = imported.iter().map(|flag| flag.name.to_string()).collect();
    let expected = ask_reference(&folder, &json!({ "flags": &flags }), &contexts, &names);
    let mut different = Vec::new();
    for (flag, name) in imported.iter().map(compiled).zip(&names) {
        let first =
            contexts.iter().zip(&expected).find(|(context, expected)| evaluated(&flag, context) != expected[name]);
        if let Some((context, expected)) = first {
            let (found, logic) = (evaluated(&flag, context), &flags[name]["targeting"]);
            different.push(format!("{logic}\n  for {}: {found}, flagd says {}", json!(context), expected[name]));
        }
    }
    different.sort_by_key(String::len);
    let first = different.iter().take(12).cloned().collect::<Vec<_>>();
    assert!(different.is_empty(), "seed {seed}: {} flags differ:\n{}", different.len(), first.join("\n"));
}

#[test]
fn what_can_be_expressed_is_right_for_texts() {
    random_targeting_is_the_same("1.0.0", SplitHash::Text);
}

#[test]
fn what_can_be_expressed_is_right_for_cbor() {
    random_targeting_is_the_same("2.0.0", SplitHash::Cbor);
}

fn serin() -> Serin {
    Serin::start(&format!(
        "stable: 'http://{}'\nflags: {{ headers: {{ maxCount: 100, maxBytes: 16KiB }} }}\n",
        echo("app")
    ))
}

fn file(document: &Value) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), document.to_string()).unwrap();
    file
}

fn import(serin: &Serin, document: &Value, more: &[&str]) -> (bool, String) {
    let file = file(document);
    let output = serin.cli(&[&["flags", "import", file.path().to_str().unwrap()], more].concat());
    assert!(matches!(output.status.code(), Some(0 | 1)), "{:?}", output.status);
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn a_dry_run_shows_differences_and_changes_nothing() {
    let serin = serin();
    serin.does(&["flags", "set", "color", "--rollout", "5"]);
    serin.does(&["flags", "set", "mine", "--rollout", "5"]);
    let version = || serin.get("/api/flags")["version"].clone();
    let before = version();
    let (good, text) = import(&serin, &document(), &["--dry-run"]);
    assert!(good && text.contains("nothing was changed"), "{text}");
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(row("staff ").contains("created") && row("color ").contains("changed"), "{text}");
    assert!(text.lines().any(|line| line.contains("rolloutPercentage") && line.contains('5')), "{text}");
    assert_eq!(version(), before);
    assert!(import(&serin, &document(), &["--replace"]).0);
    assert_eq!(version().as_u64(), before.as_u64().map(|before| before + 1), "one write");
    assert_eq!(serin.api("GET", "/api/flags/mine", &Value::Null).0, 404, "what the file lacks is gone");
    let staff = serin.get("/api/flags/staff");
    assert_eq!(staff["metadata"], json!({ "flagSetId": "shop", "version": 8 }));
    let context = json!({ "context": { "email": "a@faas.com" } });
    let answer = serin.api("POST", "/ofrep/v1/evaluate/flags/staff", &context).1;
    assert_eq!((&answer["variant"], &answer["metadata"]["flagSetId"]), (&json!("on"), &json!("shop")), "{answer}");
    let (_, text) = import(&serin, &document(), &[]);
    assert!(!text.contains("changed\n") || text.lines().all(|line| !line.contains(" changed")), "{text}");
}

#[test]
fn what_cannot_be_expressed_is_named_and_nothing_is_brought_in() {
    let serin = serin();
    let flag = |targeting: Value| json!({ "state": "ENABLED", "variants": { "a": 1, "b": 2 }, "defaultVariant": "a", "targeting": targeting });
    let document = json!({ "flags": {
        "good": flag(json!({})),
        "remainder": flag(json!({ "if": [{ "==": [{ "%": [{ "var": "n" }, 2] }, 0] }, "b"] })),
        "unknown-variant": flag(json!({ "if": [{ "var": "x" }, "c"] })),
        "no/name": flag(json!({})),
        "no-evaluator": flag(json!({ "if": [{ "$ref": "nowhere" }, "b"] })),
        "weights": flag(json!({ "fractional": [["a", { "var": "w" }], ["b", 1]] })),
        "two-attributes": flag(json!({ "if": [{ "==": [{ "var": "x" }, { "var": "y" }] }, "b"] })),
        "no-state": { "variants": { "a": 1 }, "state": "on" },
        "mixed": { "state": "ENABLED", "variants": { "a": 1, "b": "x" } }
    } });
    let (good, text) = import(&serin, &document, &[]);
    assert!(!good);
    for part in [
        "flags.remainder.targeting.if[0].==`: the operator `%`",
        "flags.unknown-variant.targeting.if[1]`: \"c\" is no variant; there are a, b",
        "flags.no/name`",
        "there is no evaluator `nowhere`",
        "flags.weights.targeting.fractional[0]`: a weight is a whole number",
        "two attributes cannot be compared",
        "flags.no-state.state`",
        "flags.mixed.variants.b`",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(serin.get("/api/flags")["flags"], json!([]), "all or nothing");
}

#[test]
fn the_guides_file_comes_in_as_it_is() {
    let serin = serin();
    let flag = json!({ "name": "new-feature", "description": "New feature description", "enabled": true, "rolloutPercentage": 50,
        "rules": [{ "type": "user", "value": ["admin-user"] }, { "type": "environment", "value": ["production"] }],
        "createdAt": "2025-01-01T00:00:00.000Z", "updatedAt": "2025-01-15T12:00:00.000Z" });
    let (good, text) = import(&serin, &json!({ "flags": { "new-feature": flag }, "version": 42 }), &[]);
    assert!(good && text.contains("created"), "{text}");
    let mut stored = serin.get("/api/flags/new-feature");
    stored["updatedAt"] = flag["updatedAt"].clone();
    assert_eq!(stored, flag);
    let (good, text) =
        import(&serin, &json!({ "flags": { "a": { "enabled": true, "rolloutPercentage": 130 }, "b": 7 } }), &[]);
    assert!(!good && text.contains("flags.a") && text.contains("flags.b"), "{text}");
    let (good, text) = import(&serin, &json!({ "something": 1 }), &[]);
    assert!(!good && text.contains("`flags`"), "{text}");
}

fn post(serin: &Serin, body: &Value) -> (u16, Value) {
    serin.api("POST", "/api/import/flags", body)
}

fn flags_of_guide(names: &[String]) -> Value {
    let flags = names.iter().map(|name| (name.clone(), json!({ "enabled": true, "rolloutPercentage": 5 })));
    json!({ "flags": Value::Object(flags.collect()) })
}

#[test]
fn the_answer_names_each_difference_and_the_version() {
    let serin = serin();
    serin.does(&["flags", "set", "kept", "--rollout", "5"]);
    serin.does(&["flags", "set", "gone", "--rollout", "5"]);
    let version = serin.get("/api/flags")["version"].as_u64().unwrap();
    let mut document = flags_of_guide(&["kept".to_owned(), "new".to_owned()]);
    document["flags"]["kept"]["rolloutPercentage"] = json!(25);
    let mut body = json!({ "document": document, "dryRun": true, "replace": true });
    let (status, dry) = post(&serin, &body);
    assert_eq!((status, &dry["dryRun"], &dry["version"]), (200, &json!(true), &json!(version)), "{dry}");
    let change = |index: usize| dry["changes"][index].clone();
    let fields = json!([{ "field": "rolloutPercentage", "before": 5, "after": 25 }]);
    assert_eq!(change(0), json!({ "flag": "kept", "change": "changed", "fields": fields }));
    assert_eq!((&change(1)["flag"], &change(1)["change"]), (&json!("new"), &json!("created")));
    assert_eq!(change(2), json!({ "flag": "gone", "change": "deleted" }));
    body["dryRun"] = json!(false);
    let (status, done) = post(&serin, &body);
    assert_eq!((status, &done["changes"], &done["version"]), (200, &dry["changes"], &json!(version + 1)));
    let (_, again) = post(&serin, &body);
    assert_eq!(again["version"], json!(version + 1), "nothing to write: {again}");
    assert!(again["changes"].as_array().unwrap().iter().all(|change| change["change"] == "unchanged"), "{again}");
}

#[test]
fn flags_are_looked_at_together_and_after_the_import() {
    let serin = serin();
    let flag = |more: Value| {
        let mut flag = json!({ "enabled": true, "rolloutPercentage": 5 });
        flag.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        flag
    };
    let on = |name: &str| json!({ "prerequisites": [{ "flag": name }] });
    let put =
        |flags: Value, replace: bool| post(&serin, &json!({ "document": { "flags": flags }, "replace": replace }));
    // Each rests on one that comes with it.
    assert_eq!(put(json!({ "a": flag(on("b")), "b": flag(json!({})) }), false).0, 200);
    let (status, ring) = put(json!({ "b": flag(on("a")) }), false);
    assert_eq!((status, &ring["field"]), (400, &json!("flags.b.prerequisites[0]")), "{ring}");
    let (status, gone) = put(json!({ "a": flag(on("b")) }), true);
    assert_eq!((status, &gone["code"]), (409, &json!("neededBy")), "{gone}");
    let (status, twins) = put(json!({ "new.flag": flag(json!({})), "new_flag": flag(json!({})) }), false);
    assert_eq!((status, &twins["code"]), (422, &json!("sameHeader")), "{twins}");
    let many: Vec<String> = (0..99).map(|n| format!("f{n}")).collect();
    let (status, headers) = post(&serin, &json!({ "document": flags_of_guide(&many) }));
    assert_eq!((status, &headers["code"]), (422, &json!("tooManyHeaders")), "{headers}");
    assert_eq!(serin.get("/api/flags")["flags"].as_array().map(Vec::len), Some(2), "nothing of all this came in");
    // What is deleted makes room, and nothing is left that would rest on it.
    assert_eq!(post(&serin, &json!({ "document": flags_of_guide(&many), "replace": true })).0, 200);
    for (body, field) in [
        (json!({ "document": { "flags": 1 } }), Some("flags")),
        (json!({ "document": { "flags": { "f": { "state": "ENABLED" } } } }), Some("flags.f.variants")),
        (json!({ "document": {}, "hash": "md5" }), None),
        (json!({ "dryRun": true }), Some("document")),
    ] {
        let (status, answer) = post(&serin, &body);
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(field.is_none_or(|field| answer["field"] == field), "{body}: {answer}");
    }
}

#[test]
fn ten_thousand_flags_are_one_import_and_no_more_are_taken() {
    let serin = Serin::start(&format!("stable: 'http://{}'\nflags: {{ headers: {{ expose: [] }} }}\n", echo("app")));
    let names: Vec<String> = (0..10_001).map(|n| format!("flag-{n}")).collect();
    let mut document = json!({ "flags": {} });
    for name in &names[..10_000] {
        document["flags"][name] = json!({ "state": "ENABLED", "variants": { "on": "x".repeat(100), "off": "y".repeat(100) },
            "defaultVariant": "off", "targeting": { "if": [{ "ends_with": [{ "var": "email" }, "@faas.com"] }, "on"] } });
    }
    assert!(document.to_string().len() > 2 << 20, "more than other calls take");
    let (good, text) = import(&serin, &document, &["--replace"]);
    assert!(good, "{}", text.lines().last().unwrap_or_default());
    assert_eq!(serin.get("/api/flags")["flags"].as_array().map(Vec::len), Some(10_000));
    let (status, answer) = post(&serin, &json!({ "document": flags_of_guide(&names[10_000..]) }));
    assert_eq!((status, &answer["code"]), (422, &json!("tooManyFlags")), "{answer}");
}

#[test]
fn a_document_may_come_by_standard_input() {
    let serin = serin();
    let document = file(&json!({ "flags": [{ "key": "piped", "state": "ENABLED", "variants": { "on": true } }] }));
    let output = Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(["--admin", &format!("http://{}", serin.admin), "flags", "import", "-"])
        .stdin(std::fs::File::open(document.path()).unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("piped") && text.contains("created"), "{text}");
    let output = serin.cli(&["flags", "import", "/nowhere.json"]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("/nowhere.json"));
}

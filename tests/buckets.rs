//! The bucket functions for analysts (`docs/buckets/`): each says what Serin says.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Process, eventually, find, have, python};
use rustix::process::Signal;
use serde_json::{Value, json};
use serin::decide::bucket::{BUCKETS, Bucket, Salt, Share, fingerprint};
use serin::decide::flags::{CompiledFlag, Context, EnvironmentRules, Flag, Surroundings};
use tempfile::TempDir;

const VECTORS: &str = "docs/buckets/vectors.json";

/// SPEC 4's own, with their hashes.
const PROMISED: [(&str, &str, u64, u16); 5] = [
    ("flag/new-feature", "user-123", 16_399_080_331_635_004_237, 8889),
    ("flag/new-feature", "user-456", 1_264_616_859_470_077_171, 685),
    ("deployment/d-1", "user-123", 6_627_861_485_024_854_756, 3592),
    ("deployment/d-1", "ü", 922_900_297_819_260_191, 500),
    ("service/shop", "user-123", 10_236_476_106_793_677_620, 5549),
];

fn salt(text: &str) -> Salt {
    match text.split_once('/').unwrap() {
        ("flag", name) => Salt::flag(name),
        ("variant", name) => Salt::variant(name),
        ("deployment", id) => Salt::deployment(id),
        ("service", name) => Salt::service(name),
        (kind, _) => panic!("{kind} is no kind"),
    }
}

/// A text of so many bytes, each of them a letter or a digit.
fn letters(length: usize) -> String {
    let letter = |at: usize| char::from_digit((((at * 2_654_435_761) >> 9) ^ length) as u32 % 36, 36).unwrap();
    (0..length).map(letter).collect()
}

/// A text of so many characters, most of them of more than one byte.
fn foreign(length: usize) -> String {
    let alphabet = ['ü', '日', 'a', '😀', 'Ж', '\u{80}', 'é', '本', '\u{ffff}', 'ß', '\u{10ffff}'];
    (0..length).map(|at| alphabet[(at * at + 3 * at + length) % alphabet.len()]).collect()
}

/// Of every length that XXH3 treats in a way of its own, and around the ends of its blocks.
fn hashes() -> Vec<Value> {
    let lengths = (0..=16).chain([17, 32, 33, 128, 129, 240, 241, 1024, 1025, 1088, 1089, 2048, 2049]);
    let texts = lengths.map(letters).chain((1..=5).map(foreign));
    texts.map(|text| json!({ "text": text, "hash": fingerprint(&text).to_string() })).collect()
}

fn buckets() -> Vec<Value> {
    let strange = [
        "日本語",
        "😀",
        "u\u{308}",
        "Grüße aus Köln",
        " ",
        "a b",
        "O'Brien",
        "\"quoted\"",
        "back\\slash",
        "tab\tand\nline",
        "a:b/c",
        "100%",
        "$1",
        "\u{7f}",
        "someone@example.com",
        "0",
        "-1",
        "1.0",
        "null",
    ];
    let promised = PROMISED.iter().map(|(salt, id, ..)| (*salt, (*id).to_owned()));
    let kinds = ["flag/new-feature", "deployment/d-1764316800000-00c0ffee", "service/shop", "variant/new-feature"];
    let of_each_kind = kinds.iter().flat_map(|salt| (1..=5).map(move |n| (*salt, format!("user-{n}"))));
    let strange = strange.iter().map(|id| ("deployment/d-1", (*id).to_owned()));
    let foreign = [1, 2, 3, 5, 8, 13, 20, 34, 40, 55, 70, 80, 89, 100, 144, 400, 700].map(foreign);
    let lengths = (0..=300).chain([1017, 1018, 1100, 3000]).map(letters);
    let all = promised.chain(of_each_kind).chain(strange);
    let all = all.chain(foreign.into_iter().chain(lengths).map(|id| ("flag/f", id)));
    let vector = |(of, id): (&str, String)| {
        let (hash, bucket) = (salt(of).hash(&id).to_string(), salt(of).bucket(&id).number());
        json!({ "salt": of, "id": id, "hash": hash, "bucket": bucket })
    };
    all.map(vector).collect()
}

/// Whether a percentage times a hundred is no whole number in binary: whoever does not round is wrong.
fn is_awkward(points: u16) -> bool {
    f64::from(points) / 100.0 * 100.0 != f64::from(points)
}

/// On both sides of users' buckets, and at both ends.
fn exposures() -> Vec<Value> {
    let of = "deployment/d-1";
    let user = |n: u32| (format!("user-{n}"), salt(of).bucket(&format!("user-{n}")));
    let (awkward, others): (Vec<_>, Vec<_>) = (1..=1000).map(user).partition(|(_, bucket)| {
        let bucket = bucket.number();
        is_awkward(bucket) || is_awkward(bucket + 1)
    });
    assert!(awkward.len() > 20);
    let asked = awkward.iter().take(40).chain(others.iter().take(20));
    let asked = asked.flat_map(|(id, bucket)| {
        [0, bucket.number(), bucket.number() + 1, BUCKETS].map(|points| {
            let share = Share::from_basis_points(points).unwrap();
            json!({ "salt": of, "id": id, "percentage": share, "exposed": share.reaches(*bucket) })
        })
    });
    asked.collect()
}

/// The variant that Serin's own evaluation names.
fn variant(flag: &str, id: &str, weights: &Value) -> Option<String> {
    let weights = weights.as_object().unwrap();
    let variants = weights.iter().map(|(name, weight)| (name.clone(), json!({ "value": name, "weight": weight })));
    let flag = json!({
        "name": flag,
        "enabled": true,
        "rolloutPercentage": 100,
        "variants": variants.collect::<serde_json::Map<_, _>>(),
    });
    let flag: Flag = serde_json::from_value(flag).unwrap();
    let surroundings = Surroundings { home: "", reading: EnvironmentRules::Restrict, forced: None, ramp: None };
    let flag = CompiledFlag::new(&flag, &surroundings, |_| None);
    let evaluation = flag.evaluate(&Context { id: Some(id), ..Context::default() });
    flag.variant(&evaluation).map(|(name, _)| name.to_owned())
}

fn variants() -> Vec<Value> {
    let flags = [
        ("checkout", json!({ "control": 90, "treatment": 10 })),
        ("colour", json!({ "red": 1, "green": 1, "blue": 1 })),
        // By the bytes of their names, not as a dictionary has them.
        ("order", json!({ "b": 1, "B": 2, "a-1": 3, "a.1": 4, "A1": 5, "_": 6 })),
        ("large", json!({ "x": 1_000_000, "y": 999_999, "z": 1 })),
        ("partly", json!({ "first": 0, "second": 3, "third": 0, "fourth": 4, "last": 0 })),
        ("only", json!({ "one": 7, "none": 0 })),
        ("nothing", json!({ "none": 0 })),
    ];
    let cases = flags.iter().flat_map(|(flag, weights)| (1..=12).map(move |n| (flag, weights, format!("user-{n}"))));
    let vector = |(flag, weights, id): (&&str, &Value, String)| {
        let variant = variant(flag, &id, weights);
        json!({ "flag": flag, "id": id, "weights": weights, "variant": variant })
    };
    cases.map(vector).collect()
}

/// The vectors as Serin has them: one a line.
fn made_anew() -> String {
    let parts = [("hashes", hashes()), ("buckets", buckets()), ("exposures", exposures()), ("variants", variants())];
    let parts = parts.map(|(name, vectors)| {
        let lines: Vec<String> = vectors.iter().map(Value::to_string).collect();
        format!("\"{name}\": [\n{}\n]", lines.join(",\n"))
    });
    format!("{{\n{}\n}}\n", parts.join(",\n"))
}

/// After a case was added here: `SERIN_WRITE_VECTORS=1 cargo test --test buckets`. What is there
/// already never changes.
#[test]
fn the_vectors_are_what_serin_says() {
    for (of, id, hash, bucket) in PROMISED {
        assert_eq!((salt(of).hash(id), salt(of).bucket(id).number()), (hash, bucket), "{of}:{id}");
        assert_eq!(fingerprint(&format!("{of}:{id}")), hash, "{of}:{id}");
    }
    let vectors = made_anew();
    if std::env::var_os("SERIN_WRITE_VECTORS").is_some() {
        fs::write(VECTORS, &vectors).unwrap();
    }
    let there = fs::read_to_string(VECTORS).unwrap();
    let differs = there.lines().zip(vectors.lines()).find(|(there, here)| there != here);
    assert_eq!(differs, None, "the file's, and Serin's");
    assert!(there == vectors, "one has more lines");
}

/// Runs a program to its good end; what it has printed.
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a program's answers to the vectors are right, every one.
fn agrees(said: &str) {
    let said: Value = serde_json::from_str(said).unwrap();
    let vectors: Value = serde_json::from_str(&fs::read_to_string(VECTORS).unwrap()).unwrap();
    for (part, field) in [("hashes", "hash"), ("buckets", "bucket"), ("exposures", "exposed"), ("variants", "variant")]
    {
        let (vectors, said) = (vectors[part].as_array().unwrap(), said[part].as_array().unwrap());
        assert!(!vectors.is_empty() && vectors.len() == said.len(), "{} of {} {part}", said.len(), vectors.len());
        for (vector, said) in vectors.iter().zip(said) {
            assert_eq!(&vector[field], said, "{vector}");
        }
    }
}

fn vectors() -> Stdio {
    File::open(VECTORS).unwrap().into()
}

/// The README's example in this language.
fn example(language: &str) -> String {
    let text = fs::read_to_string("docs/buckets/README.md").unwrap();
    let (_, after) = text.split_once(&format!("```{language}\n")).unwrap();
    after.split_once("```").unwrap().0.to_owned()
}

/// Of these users Serin has so many on the canary of d-1 at 10 %.
fn on_canary(users: impl Iterator<Item = String>) -> BTreeSet<String> {
    let (salt, share) = (Salt::deployment("d-1"), Share::from_percentage(10.0).unwrap());
    users.filter(|id| share.reaches(salt.bucket(id))).collect()
}

/// What the README's examples print.
fn names_the_canary(said: &str) {
    let said: BTreeSet<String> = said.split_whitespace().map(str::to_owned).collect();
    assert_eq!(said, on_canary((1..=100).map(|n| format!("user-{n}"))));
}

/// Before a program in Python: where `bucket` is, and no caches beside it.
const IN_PYTHON: &str = "import sys\nsys.dont_write_bytecode = True\nsys.path.insert(0, 'docs/buckets')\n";

#[test]
fn python_says_what_serin_says() {
    if have("python3") {
        agrees(&printed(Command::new("python3").arg("tests/buckets/answer.py").stdin(vectors())));
        names_the_canary(&python(&format!("{IN_PYTHON}{}", example("python")), &Value::Null));
    }
}

#[test]
fn python_names_exactly_the_users_that_serin_has_on_the_canary() {
    if !have("python3") {
        return;
    }
    let users: Vec<String> = (0..100_000_u64).map(|n| format!("{:x}", n * 0x9e37_79b9)).collect();
    let program = format!(
        "{IN_PYTHON}import json\nfrom bucket import is_exposed\n\
         for user in json.load(sys.stdin):\n    if is_exposed('deployment/d-1', user, 10): print(user)"
    );
    let said = python(&program, &json!(users));
    let said: BTreeSet<String> = said.split_whitespace().map(str::to_owned).collect();
    let expected = on_canary(users.into_iter());
    assert!((9_500..10_500).contains(&expected.len()), "{} are about a tenth", expected.len());
    assert!(said == expected, "{} users differ", said.symmetric_difference(&expected).count());
}

#[test]
fn javascript_says_what_serin_says() {
    if have("node") {
        agrees(&printed(Command::new("node").arg("tests/buckets/answer.mjs").stdin(vectors())));
        let mut node = Command::new("node");
        node.args(["--input-type=module", "--eval", &example("js")]).current_dir("docs/buckets");
        names_the_canary(&printed(&mut node));
    }
}

#[test]
fn go_says_what_serin_says() {
    if !have("go") {
        return;
    }
    // A module that uses the package as anybody's does.
    let folder = tempfile::tempdir().unwrap();
    let name = "example.com/serin/bucket";
    let package = fs::canonicalize("docs/buckets").unwrap();
    let module =
        format!("module analysis\n\ngo 1.19\n\nrequire {name} v0.0.0\n\nreplace {name} => {}\n", package.display());
    fs::write(folder.path().join("go.mod"), module).unwrap();
    for (program, text) in
        [("answer", fs::read_to_string("tests/buckets/answer.go").unwrap()), ("example", example("go"))]
    {
        fs::create_dir(folder.path().join(program)).unwrap();
        fs::write(folder.path().join(program).join("main.go"), text).unwrap();
    }
    let go = |program: &str| {
        let mut go = Command::new("go");
        go.args(["run", program]).current_dir(&folder).env("GOPROXY", "off").env("CGO_ENABLED", "0");
        // The standard library is built once, beside Serin's own things.
        go.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"));
        go
    };
    agrees(&printed(go("./answer").stdin(vectors())));
    names_the_canary(&printed(&mut go("./example")));
}

/// A PostgreSQL of the test's own, reached by a socket in its folder; it ends with the test.
struct Postgres {
    server: Process,
    folder: TempDir,
}

/// Whom the server runs as where the test is root's: it refuses root.
const NOBODY: u32 = 65_534;

impl Postgres {
    /// Nothing where it is not installed.
    fn start() -> Option<Self> {
        // Debian keeps the server's programs out of the path, by version.
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let folders: Vec<PathBuf> = versions.map(|version| version.unwrap().path().join("bin")).collect();
        let (initdb, postgres) = (find("initdb", folders.clone())?, find("postgres", folders)?);
        if !have("psql") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let program = |path: &Path| {
            let mut program = Command::new(path);
            program.arg("-D").arg(&data).current_dir(&folder).stdin(Stdio::null());
            if rustix::process::geteuid().is_root() {
                std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
                program.uid(NOBODY).gid(NOBODY);
            }
            program
        };
        printed(program(&initdb).args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "-N"]));
        let log = File::create(folder.path().join("log")).unwrap();
        let mut server = program(&postgres);
        server.arg("-k").arg(folder.path()).args(["-F", "-p", "5432", "-c", "listen_addresses="]);
        let server = Process::from(server.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let postgres = Self { server, folder };
        eventually("PostgreSQL's start", || {
            let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            state.contains("ready").then_some(())
        });
        Some(postgres)
    }

    /// What psql prints, values alone.
    fn says(&self, args: &[&str]) -> String {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-p", "5432", "-U", "postgres", "-d", "postgres"]);
        psql.arg("-h").arg(self.folder.path()).args(args).env("PGCLIENTENCODING", "UTF8").stdin(Stdio::null());
        printed(&mut psql)
    }
}

impl Drop for Postgres {
    /// Its processes end with it only if it is asked to end; there is nothing to keep.
    fn drop(&mut self) {
        common::signal(self.server.serving, Signal::QUIT);
        let _ = self.server.child.wait();
    }
}

#[test]
fn sql_says_what_serin_says() {
    let Some(postgres) = Postgres::start() else { return };
    postgres.says(&["-f", "docs/buckets/bucket.sql"]);
    agrees(&postgres.says(&["-f", "tests/buckets/answer.sql"]));
    postgres.says(&["-c", "CREATE TABLE users AS SELECT 'user-' || n AS id FROM generate_series(1, 100) AS n"]);
    names_the_canary(&postgres.says(&["-c", &example("sql")]));
    let null = "SELECT serin_bucket('flag/f', NULL) IS NULL, serin_is_exposed('flag/f', NULL, 100) IS NULL";
    assert_eq!(postgres.says(&["-c", null]).trim(), "t|t", "nobody has no bucket");
    // It can be read again, over an older one.
    postgres.says(&["-f", "docs/buckets/bucket.sql"]);
    let column = "ALTER TABLE users ADD bucket int GENERATED ALWAYS AS (serin_bucket('flag/f', id)) STORED";
    postgres.says(&["-c", column]);
    let bucket: u16 = postgres.says(&["-c", "SELECT bucket FROM users WHERE id = 'user-1'"]).trim().parse().unwrap();
    assert_eq!(Bucket::new(bucket), Some(Salt::flag("f").bucket("user-1")), "a column can hold it");
}

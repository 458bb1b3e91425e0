//! Targeting that nobody would write: expressions of every operator that can be expressed, with
//! operands of every kind, in the right number and in the wrong one.

use serde_json::{Map, Value, json};
use serin::simulate::Random;

const NAMES: [&str; 12] = [
    "targetingKey",
    "email",
    "age",
    "plan",
    "beta",
    "tags",
    "version",
    "address",
    "address.country",
    "nobody",
    "$flagd.flagKey",
    "$flagd.timestamp",
];

/// Attributes that may be lists: flagd makes numbers and texts of these, Serin does not.
const LISTS: [&str; 2] = ["tags", "address"];

/// A flag with some targeting.
pub(crate) fn flag(random: &mut Random) -> Value {
    let names = ["on", "off", "true", "false", "1", "2.5"];
    let variants: Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!(format!("value-{name}")))).collect();
    let default = pick(random, &[json!("off"), json!("off"), json!(null), json!(true)]);
    json!({ "state": "ENABLED", "variants": variants, "defaultVariant": default, "targeting": result(random, 4) })
}

fn pick<T: Clone>(random: &mut Random, values: &[T]) -> T {
    values[random.below(values.len())].clone()
}

fn several(random: &mut Random, max: usize, mut one: impl FnMut(&mut Random, usize) -> Value) -> Vec<Value> {
    (0..random.below(max + 1)).map(|index| one(random, index)).collect()
}

/// Something with a variant, or none.
fn result(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 2 } else { 10 }) {
        0 | 1 if depth < 4 => pick(
            random,
            &[json!("on"), json!("on"), json!("off"), json!(true), json!(false), json!(1), json!(2.5), json!(null)],
        ),
        0..=6 => {
            let parts = several(random, 6, |random, index| match index % 2 {
                0 => condition(random, depth.saturating_sub(1)),
                _ => result(random, depth.saturating_sub(1)),
            });
            json!({ "if": parts })
        }
        7 => fractional(random),
        _ => condition(random, depth - 1),
    }
}

fn fractional(random: &mut Random) -> Value {
    let mut parts = several(random, 4, |random, _| match random.below(6) {
        0 => json!([pick(random, &["on", "off"])]),
        1 => json!([null, 5]),
        2 => json!([true, -1]),
        _ => json!([pick(random, &["on", "off", "true", "1"]), random.below(50)]),
    });
    let email = || json!({ "var": "email" });
    let by = match random.below(10) {
        0 => email(),
        1 => json!({ "var": ["version"] }),
        2 => json!({ "cat": ["seed", email()] }),
        3 => json!({ "cat": [{ "var": "$flagd.flagKey" }, { "var": "age-or-nothing" }, 7] }),
        4 => json!({ "cat": [email()] }),
        5 => pick(random, &[json!("constant"), json!(""), json!(7), json!({ "cat": [] }), json!({ "cat": "x" })]),
        _ => return json!({ "fractional": parts }),
    };
    parts.insert(0, by);
    json!({ "fractional": parts })
}

fn constant(random: &mut Random) -> Value {
    let values = [
        json!(0),
        json!(1),
        json!(18),
        json!(30),
        json!(30.0),
        json!(17.5),
        json!(-1),
        json!(true),
        json!(false),
        json!(null),
        json!(""),
        json!("0"),
        json!("1"),
        json!("30"),
        json!(" 30 "),
        json!("gold"),
        json!("beta"),
        json!("ra"),
        json!("true"),
        json!("null"),
        json!("faas.com"),
        json!([]),
        json!(["gold", 30, null]),
        json!([1, "x"]),
        json!([true, ""]),
    ];
    pick(random, &values)
}

fn variable(random: &mut Random, lists: bool) -> Value {
    let name = loop {
        let name = pick(random, &NAMES);
        if lists || !LISTS.contains(&name) {
            break name;
        }
    };
    match random.below(4) {
        0 => json!({ "var": [name, constant(random)] }),
        1 => json!({ "var": [name] }),
        _ => json!({ "var": name }),
    }
}

fn operand(random: &mut Random) -> Value {
    if random.chance(0.55) { variable(random, false) } else { constant(random) }
}

fn condition(random: &mut Random, depth: usize) -> Value {
    let below = depth.saturating_sub(1);
    match random.below(if depth == 0 { 13 } else { 20 }) {
        0 | 1 => variable(random, true),
        2 => constant(random),
        3..=8 => {
            let name = pick(random, &["==", "!=", "===", "!==", "<", "<=", ">", ">="]);
            let count = [2, 2, 2, 2, 3, 1][random.below(if name.starts_with(['<', '>']) { 6 } else { 4 })];
            let parts: Vec<Value> = (0..count).map(|_| operand(random)).collect();
            json!({ (name): parts })
        }
        9 | 10 => match random.below(3) {
            0 => json!({ "in": [constant(random), variable(random, true)] }),
            _ => json!({ "in": [operand(random), constant(random)] }),
        },
        11 => json!({ (pick(random, &["starts_with", "ends_with"])): [operand(random), constant(random)] }),
        12 => {
            let sign = pick(random, &["=", "!=", "<", "<=", ">", ">=", "~", "^", "", "==", "> "]);
            let than = pick(random, &["1.2.0", "v1", "1.2", "2.0.0-rc.1", "latest", "=1.2", " 1.2", ""]);
            let found =
                pick(random, &[json!("version"), json!("version"), json!(["version", "1.5"]), json!(["version", 2])]);
            json!({ "sem_ver": [{ "var": found }, sign, than] })
        }
        13 | 14 => json!({ "and": several(random, 3, |random, _| condition(random, below)) }),
        15 | 16 => json!({ "or": several(random, 3, |random, _| condition(random, below)) }),
        17 => json!({ "!": [condition(random, below)] }),
        18 => json!({ "!!": condition(random, below) }),
        _ => json!({ "if": several(random, 5, |random, _| condition(random, below)) }),
    }
}

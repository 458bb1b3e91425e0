//! Each operator, with who it is for, and each thing that cannot be said, with its place.
//! That answers are flagd's own is held by `tests/import.rs`.

use serde_json::{Value, json};

use super::{ROOM, import, is_flagd};
use crate::decide::flags::{CompiledFlag, Context, EnvironmentRules, Flag, JsonAttributes, SplitHash, Surroundings};

const NOW: i64 = 1_700_000_000;

fn document(targeting: &Value) -> Value {
    json!({ "flags": { "f": { "state": "ENABLED", "variants": { "a": 1, "b": 2, "true": 3, "false": 4 },
        "defaultVariant": "a", "targeting": targeting } } })
}

fn flag(targeting: &Value) -> Flag {
    import(&document(targeting), SplitHash::Text).unwrap().remove(0)
}

fn variant(flag: &Flag, context: &Value) -> Option<String> {
    let surroundings =
        Surroundings { home: "production", reading: EnvironmentRules::Restrict, forced: None, ramp: None };
    let compiled = CompiledFlag::new(flag, &surroundings, |_| None);
    let attributes = JsonAttributes(context.as_object().unwrap());
    let id = context["targetingKey"].as_str();
    let context = Context { id, attributes: Some(&attributes), unix_millis: NOW * 1_000, ..Context::default() };
    let found = compiled.evaluate(&context);
    compiled.variant(&found).map(|(name, _)| name.to_owned())
}

fn problems(document: &Value) -> Vec<String> {
    match import(document, SplitHash::Text) {
        Ok(_) => Vec::new(),
        Err(flaws) => flaws.iter().map(ToString::to_string).collect(),
    }
}

/// Conditions, attributes `x` that they hold for, and attributes that they do not. The text
/// `missing` is none.
#[test]
fn conditions_and_who_they_are_for() {
    let x = || json!({ "var": "x" });
    let rows = [
        (json!({ "==": [x(), "gold"] }), vec![json!("gold")], vec![json!("silver"), json!("missing"), json!(0)]),
        (
            json!({ "==": [x(), 0] }),
            vec![json!(0), json!("missing"), json!(null), json!("0"), json!(false)],
            vec![json!("")],
        ),
        (json!({ "==": [30, x()] }), vec![json!(30), json!(" 30 "), json!(30.0)], vec![json!(31), json!("missing")]),
        (json!({ "==": [x(), "30"] }), vec![json!(30), json!("30")], vec![json!(" 30 ")]),
        (json!({ "==": [x(), null] }), vec![json!("missing"), json!(0), json!(false)], vec![json!(""), json!(1)]),
        (json!({ "==": [x(), true] }), vec![json!(true), json!(1), json!("1")], vec![json!("true"), json!("missing")]),
        (json!({ "!=": [x(), 5] }), vec![json!("missing"), json!(4), json!("x")], vec![json!(5), json!("5")]),
        (json!({ "!=": [x(), 0] }), vec![json!(4)], vec![json!("missing"), json!("0")]),
        (json!({ "===": [x(), 1] }), vec![json!(1), json!(1.0), json!(true)], vec![json!("1"), json!("missing")]),
        (json!({ "===": [x(), null] }), vec![json!("missing"), json!(null)], vec![json!(0), json!("")]),
        (json!({ "!==": [x(), "a"] }), vec![json!("b"), json!("missing")], vec![json!("a")]),
        (
            json!({ "<": [x(), 18] }),
            vec![json!(17), json!("3"), json!("missing"), json!(true)],
            vec![json!(18), json!("old")],
        ),
        (json!({ "<=": [x(), 18] }), vec![json!(18)], vec![json!(18.5)]),
        (json!({ ">": [x(), -1] }), vec![json!(0), json!("missing")], vec![json!(-1), json!("")]),
        (json!({ ">=": [18, x()] }), vec![json!(18), json!("missing")], vec![json!(19)]),
        (json!({ "<": [1, x(), 5] }), vec![json!(2)], vec![json!(1), json!(5), json!("missing")]),
        (json!({ "<": [x(), 5, null] }), vec![json!(2), json!("missing")], vec![json!(5)]),
        (json!({ "<": [1, 5, x()] }), vec![json!(6), json!("missing")], vec![json!(5)]),
        (
            json!({ "in": [x(), ["gold", 7, null]] }),
            vec![json!("gold"), json!(7), json!("missing")],
            vec![json!("7"), json!("g")],
        ),
        (json!({ "in": [x(), [1, false]] }), vec![json!(1), json!(true), json!(0)], vec![json!("1"), json!("missing")]),
        (
            json!({ "in": ["b", x()] }),
            vec![json!("abc"), json!(["a", "b"])],
            vec![json!(["abc"]), json!("missing"), json!(1)],
        ),
        (
            json!({ "in": [1, x()] }),
            vec![json!([1]), json!([true]), json!("a1")],
            vec![json!(["1"]), json!("true"), json!(1)],
        ),
        (json!({ "starts_with": [x(), "ab"] }), vec![json!("abc")], vec![json!("cab"), json!(1), json!("missing")]),
        (json!({ "ends_with": [x(), "bc"] }), vec![json!("abc")], vec![json!("bcd"), json!(["abc"])]),
        (
            json!({ "sem_ver": [x(), ">=", "1.2"] }),
            vec![json!("v1.10.0"), json!(1.2), json!(2)],
            vec![json!("1.2.0-rc"), json!("latest"), json!("missing")],
        ),
        (
            json!({ "sem_ver": [{ "var": ["x", "2.0"] }, "~", "2"] }),
            vec![json!("missing"), json!("2.0.9")],
            vec![json!("2.1.0")],
        ),
        (
            x(),
            vec![json!("0"), json!(1), json!([0]), json!({})],
            vec![json!(""), json!(0), json!([]), json!("missing"), json!(false)],
        ),
        (json!({ "!": x() }), vec![json!(0), json!("missing")], vec![json!("x")]),
        (json!({ "!!": [x()] }), vec![json!("x")], vec![json!("missing")]),
        (json!({ "var": ["x", 1] }), vec![json!("missing"), json!(null)], vec![json!(0)]),
        (json!({ ">": [{ "var": ["x", 99] }, 50] }), vec![json!("missing"), json!(51)], vec![json!(50)]),
        (
            json!({ "==": [{ "var": "x.y.1" }, "b"] }),
            vec![json!({ "y": ["a", "b"] })],
            vec![json!({ "y": "b" }), json!("missing")],
        ),
        (json!({ "and": [x(), { "<": [x(), 5] }] }), vec![json!(1)], vec![json!(0), json!(5)]),
        (json!({ "or": [{ ">": [x(), 5] }, { "<": [x(), 2] }] }), vec![json!(6), json!(1)], vec![json!(3)]),
        (json!({ "and": [] }), vec![], vec![json!(1)]),
        (json!({ "or": [] }), vec![], vec![json!(1)]),
        (json!({ "if": [x(), { ">": [x(), 5] }, true] }), vec![json!(6), json!(0)], vec![json!(5)]),
        (json!({ "if": [x(), true] }), vec![json!(6)], vec![json!(0)]),
        (json!({ "==": [{ "var": "$flagd.flagKey" }, "f"] }), vec![json!(1)], vec![]),
        (json!({ "<": ["e", { "var": "$flagd.flagKey" }] }), vec![json!(1)], vec![]),
        (json!({ ">=": [{ "var": "$flagd.timestamp" }, NOW] }), vec![json!(1)], vec![]),
        (json!({ ">": [{ "var": "$flagd.timestamp" }, NOW] }), vec![], vec![json!(1)]),
        (json!({ "<": [NOW - 1, { "var": "$flagd.timestamp" }, NOW + 1] }), vec![json!(1)], vec![]),
        (json!({ "<=": [{ "var": "$flagd.timestamp" }, NOW - 1] }), vec![], vec![json!(1)]),
        (json!(["never empty"]), vec![json!(1)], vec![]),
    ];
    for (condition, for_these, not_for_these) in rows {
        let flag = flag(&json!({ "if": [condition, "b"] }));
        for (values, wanted) in [(for_these, "b"), (not_for_these, "a")] {
            for x in values {
                let context = if x == "missing" { json!({}) } else { json!({ "x": x }) };
                assert_eq!(variant(&flag, &context).as_deref(), Some(wanted), "{condition} for {context}");
            }
        }
    }
}

#[test]
fn a_branch_without_a_result_ends_with_the_default() {
    let x = |value: i64| json!({ "==": [{ "var": "x" }, value] });
    let inner = json!({ "if": [{ "var": "y" }, "b"] });
    let flag = flag(&json!({ "if": [x(1), null, x(2), inner, x(3), true, "false"] }));
    for (context, wanted) in [
        (json!({ "x": 1 }), "a"),
        (json!({ "x": 2 }), "a"),
        (json!({ "x": 2, "y": true }), "b"),
        (json!({ "x": 3 }), "true"),
        (json!({ "x": 4 }), "false"),
    ] {
        assert_eq!(variant(&flag, &context).as_deref(), Some(wanted), "{context}");
    }
}

#[test]
fn rules_are_plain_where_an_order_is_enough() {
    let gold = json!({ "==": [{ "var": "plan" }, "gold"] });
    let flag = flag(&json!({ "if": [gold, "b", "a"] }));
    let expected = json!([
        { "type": "attribute", "value": { "plan": { "equals": "gold" } }, "variant": "b" },
        { "type": "all", "value": [], "variant": "a" },
    ]);
    assert_eq!(json!(flag.rules), expected);
}

#[test]
fn conditions_alone_are_true_and_false() {
    let gold = json!({ "==": [{ "var": "plan" }, "gold"] });
    for logic in [gold.clone(), json!({ "and": [gold.clone(), { "or": [{ "!": false }, gold] }] })] {
        let flag = flag(&logic);
        assert_eq!(variant(&flag, &json!({ "plan": "gold" })).as_deref(), Some("true"));
        assert_eq!(variant(&flag, &json!({})).as_deref(), Some("false"));
    }
}

#[test]
fn fractions_and_what_is_hashed() {
    let split = |fractional: Value| json!(flag(&json!({ "fractional": fractional })).rules[0].split);
    let weights = json!([["a", 25], ["b", 1], [null, 0], ["true", 3]]);
    let parts = [json!(["a", 25]), json!(["b"]), json!([null, -7]), json!([true, 3])];
    let with = |by: Value| [&[by], &parts[..]].concat();
    let x = || json!({ "var": "x" });
    assert_eq!(split(json!(parts)), json!({ "hash": "murmur3", "weights": weights }));
    for (by, hashed) in [
        (x(), json!([{ "attribute": "x" }])),
        (json!("seed"), json!(["seed"])),
        (json!({ "var": "$flagd.flagKey" }), json!(["f"])),
        (
            json!({ "cat": [{ "var": "$flagd.flagKey" }, x(), 7, 5.0, "-"] }),
            json!(["f", { "attribute": "x" }, "7", "5", "-"]),
        ),
        // A number in `cat` is a text, and one alone is itself.
        (json!({ "cat": [x()] }), json!([{ "attribute": "x" }, ""])),
        (json!({ "cat": [] }), json!([""])),
    ] {
        assert_eq!(
            split(json!(with(by.clone()))),
            json!({ "hash": "murmur3", "by": hashed, "weights": weights }),
            "{by}"
        );
    }
    let cbor = import(&document(&json!({ "fractional": parts })), SplitHash::Cbor).unwrap();
    assert_eq!(json!(cbor[0].rules[0].split)["hash"], "murmur3-cbor");
}

#[test]
fn flags_and_what_becomes_of_their_fields() {
    let flags = json!([
        { "key": "full", "state": "DISABLED", "variants": { "on": true, "off": false }, "defaultVariant": "off",
          "description": "What it is for", "metadata": { "version": 2 }, "source": "s", "selector": "" },
        { "key": "bare", "state": "ENABLED", "variants": { "x": { "a": 1 } }, "defaultVariant": "" },
        { "key": "no", "state": "ENABLED", "variants": { "false": false, "true": true }, "defaultVariant": false },
    ]);
    let document = json!({ "metadata": { "flagSetId": "shop", "version": 1 }, "flags": flags });
    assert!(is_flagd(&document));
    let flags = import(&document, SplitHash::Text).unwrap();
    let json = json!(flags[0]);
    assert_eq!(
        json,
        json!({ "name": "full", "description": "What it is for", "enabled": false, "rolloutPercentage": 0, "rules": [],
            "variants": { "off": { "value": false }, "on": { "value": true } }, "defaultVariant": "off",
            "createdAt": "", "updatedAt": "", "metadata": { "flagSetId": "shop", "version": 2 } })
    );
    assert_eq!(serde_json::from_value::<Flag>(json).unwrap(), flags[0], "it comes back from a file");
    assert!(flags[1].enabled && flags[1].default_variant.is_none());
    assert_eq!(flags[2].default_variant.as_deref(), Some("false"));
}

#[test]
fn documents_are_told_apart() {
    let flagd = json!({ "state": "ENABLED", "variants": { "a": 1 } });
    let guides = json!({ "enabled": true, "rolloutPercentage": 5, "state": "of mind" });
    assert!(is_flagd(&json!({ "flags": { "f": flagd } })) && is_flagd(&json!({ "flags": [flagd] })));
    assert!(is_flagd(&json!({ "$evaluators": {}, "flags": {} })));
    assert!(
        !is_flagd(&json!({ "flags": { "f": guides } })) && !is_flagd(&json!({ "flags": {} })) && !is_flagd(&json!(1))
    );
}

#[test]
fn what_cannot_be_said_in_targeting_is_named_with_its_place() {
    let x = || json!({ "var": "x" });
    let asked = |condition: Value| json!({ "if": [condition, "b"] });
    let rows = [
        (asked(json!({ "%": [x(), 2] })), "`flags.f.targeting.if[0].%`: the operator `%` cannot be expressed"),
        (asked(json!({ "==": [{ "%": [x(), 2] }, 0] })), "if[0].==`: the operator `%` in an operand"),
        (asked(json!({ "missing": ["x"] })), "the operator `missing` cannot"),
        (asked(json!({ "some": [x(), true] })), "the operator `some` cannot"),
        (asked(json!({ "fractional": [["a", 1]] })), "the operator `fractional` cannot"),
        (asked(json!({ "nonsense": 1 })), "the operator `nonsense` cannot"),
        (asked(json!({ "==": [x()] })), "the operator `==` with 1 operands"),
        (asked(json!({ "!": [] })), "the operator `!` with 0 operands"),
        (asked(json!({ "and": [true, { "or": [{ "+": [1] }] }] })), "if[0].and[1].or[0].+`"),
        (asked(json!({ "==": [x(), { "var": "y" }] })), "two attributes cannot be compared"),
        (asked(json!({ "==": [x(), [1]] })), "`==` with [1] cannot be expressed"),
        (asked(json!({ "<": [x(), "m"] })), "`<` with \"m\" cannot be expressed"),
        (asked(json!({ "in": [x(), "a text"] })), "`in` with \"a text\" cannot be expressed"),
        (asked(json!({ "in": [x(), ["a", ["b"]]] })), "cannot be expressed"),
        (asked(json!({ "in": [true, x()] })), "`in` with true as what is looked for"),
        (asked(json!({ "in": [0.1 + 0.2, x()] })), "as what is looked for"),
        (asked(json!({ "in": [true, "true"] })), "`in` of true and \"true\" cannot be expressed"),
        (asked(json!({ "starts_with": ["abc", x()] })), "`starts_with` with a constant first"),
        (asked(json!({ "starts_with": [x(), 1] })), "`starts_with` with 1 cannot"),
        (asked(json!({ "sem_ver": ["1.0.0", "=", x()] })), "the first operand of `sem_ver`"),
        (asked(json!({ "sem_ver": [x(), "=", x()] })), "`sem_ver` has an operator and a version"),
        (asked(json!({ "sem_ver": [x(), "==", "1"] })), "`==` and `1` are no operator and version"),
        (asked(json!({ "sem_ver": [x(), "=", "latest"] })), "`=` and `latest` are no operator"),
        (asked(json!({ "var": "" })), "`var` of everything"),
        (asked(json!({ "var": [x()] })), "`var` names an attribute"),
        (asked(json!({ "var": ["x", x()] })), "`var` names an attribute"),
        (asked(json!({ "var": "$flagd" })), "of flagd's own values"),
        (asked(json!({ ">": [{ "var": "x.length" }, 2] })), "the length of a list or a text"),
        (asked(json!({ "==": [{ "var": "$flagd.timestamp" }, 5] })), "`$flagd.timestamp` is compared by <"),
        (asked(json!({ "<": [{ "var": "$flagd.timestamp" }, "x"] })), "`$flagd.timestamp` is compared by <"),
        (asked(json!({ "<=": [{ "var": "$flagd.timestamp" }, i64::MAX] })), "`$flagd.timestamp` is compared by <"),
        (json!({ "if": [true, "c"] }), "`flags.f.targeting.if[1]`: \"c\" is no variant; there are a, b, false, true"),
        (json!({ "if": [true, 1.5] }), "\"1.5\" is no variant"),
        (json!({ "if": [true, ["a"]] }), "if[1]`: the result of targeting is a variant's name"),
        (json!({ "sem_ver": [x(), "=", "1"] }), "the operator `sem_ver` as a result"),
        (json!({ "or": [x(), false] }), "the operator `or` as a result"),
        (json!({ "var": "x" }), "the operator `var` as a result"),
        (json!("a"), "targeting is an object"),
        (json!({ "fractional": [] }), "there is nothing to draw from"),
        (json!({ "fractional": [7, ["a", 1]] }), "what is hashed is an attribute"),
        (json!({ "fractional": [{ "cat": [true] }, ["a", 1]] }), "what is hashed is an attribute"),
        (json!({ "fractional": [{ "merge": [x()] }, ["a", 1]] }), "what is hashed is an attribute"),
        (json!({ "fractional": [{ "var": "x.length" }, ["a", 1]] }), "the length of a list or a text"),
        (json!({ "fractional": [x(), ["a", 1], ["a", 1, 2]] }), "fractional[2]`: a part is [variant, weight]"),
        (json!({ "fractional": [["a", x()]] }), "fractional[0]`: a weight is a whole number"),
        (json!({ "fractional": [["a", 1.5]] }), "a weight is a whole number"),
        (json!({ "fractional": [["a", 5_000_000_000_u64]] }), "the weight is too large"),
        (json!({ "fractional": [["a", 2_000_000_000], ["b", 2_000_000_000]] }), "their sum is at most"),
        (json!({ "fractional": [[{ "if": [true, "a"] }, 1]] }), "a variant that is an expression"),
        (json!({ "fractional": [["c", 1]] }), "fractional[0]`: \"c\" is no variant"),
        (asked(json!({ "$ref": "nowhere" })), "there is no evaluator `nowhere`"),
    ];
    for (targeting, part) in rows {
        let found = problems(&document(&targeting));
        assert!(found.len() == 1 && found[0].contains(part), "{targeting}: {found:?} lacks {part:?}");
    }
}

#[test]
fn all_that_is_wrong_is_named_at_once() {
    let targeting = json!({ "if": [{ "%": [1] }, "c", { "min": [1] }, { "var": "x" }] });
    assert_eq!(problems(&document(&targeting)).len(), 4);
    let document = json!({ "metadata": { "a": null }, "flags": [
        { "key": "a/b", "state": "on", "variants": {}, "defaultVariant": 1, "metadata": { "list": [] }, "more": 1,
          "description": 1, "targeting": 1 },
        { "key": "twice", "state": "ENABLED", "variants": { "a": 1 } },
        { "key": "twice", "state": "ENABLED", "variants": { "a": 1 } },
        { "key": "mixed", "state": "ENABLED", "variants": { "a": 1, "b": "x" } },
        { "key": "default", "state": "ENABLED", "variants": { "a": 1 }, "defaultVariant": "b" },
        { "state": "ENABLED", "variants": { "a": 1 } },
        7,
    ] });
    let found = problems(&document).join("\n");
    for part in [
        "`metadata`:",
        "`flags.a/b`:",
        "`flags.a/b.state`:",
        "`flags.a/b.variants`:",
        "`flags.a/b.defaultVariant`:",
        "`flags.a/b.metadata`:",
        "`flags.a/b.more`:",
        "`flags.a/b.description`:",
        "`flags.a/b.targeting`:",
        "`flags.twice`: the key stands there twice",
        "`flags.mixed.variants.b`:",
        "`flags.default.defaultVariant`:",
        "`flags.`: a flag's name",
        "`flags..state`:",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    assert_eq!(
        problems(&json!({ "$evaluators": {}, "flags": "x" })),
        ["`flags`: flags by their keys, or a list of them"]
    );
}

#[test]
fn evaluators_are_filled_in_once() {
    let mut document = document(&json!({ "if": [{ "$ref": "adult" }, "b"] }));
    document["$evaluators"] =
        json!({ "adult": { ">=": [{ "var": "age" }, 18] }, "other": { "!": { "$ref": "adult" } } });
    let flag = import(&document, SplitHash::Text).unwrap().remove(0);
    assert_eq!(variant(&flag, &json!({ "age": 18 })).as_deref(), Some("b"));
    document["flags"]["f"]["targeting"] = json!({ "if": [{ "$ref": "other" }, "b"] });
    assert!(problems(&document)[0].contains("the operator `$ref` cannot be expressed"));
}

/// Each `if` within a condition says its own condition twice; a branch without a result says all
/// conditions before it again.
#[test]
fn a_small_file_does_not_become_a_large_one() {
    let x = || json!({ "var": "x" });
    let deep = (0..40).fold(x(), |inner, _| json!({ "if": [inner, true, false] }));
    let copies = json!({ "or": vec![json!({ "$ref": "large" }); 1_000] });
    let branches = |count: usize, last: &str| [vec![[x(), json!(null)]; count].concat(), vec![json!(last)]].concat();
    let rows = [
        (json!({ "if": [deep, "b"] }), false),
        (json!({ "if": [copies, "b"] }), false),
        (json!({ "if": branches(100, "b") }), true),
        (json!({ "if": branches(100_000, "b") }), true),
        (json!({ "if": [{ "if": branches(100, "") }, "b"] }), true),
        (json!({ "if": [{ "if": branches(2_000, "") }, "b"] }), false),
        (json!({ "if": vec![json!({ "if": branches(1_000, "") }); 400] }), false),
    ];
    for (logic, fits) in rows {
        let mut document = document(&logic);
        document["$evaluators"] = json!({ "large": { "in": [x(), vec!["y"; 1_000]] } });
        let found = problems(&document);
        let said = found.iter().any(|problem| problem.contains(&format!("comes to more than {ROOM} conditions")));
        assert!(said != fits && found.is_empty() == fits, "{found:?}");
    }
}

//! What the core promises of flags: shares, independence, no allocation, every reason.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};
use serin::decide::flags::{CompiledFlag, Context, EnvironmentRules, Flag, Reason, RuleKind, Surroundings};

fn compiled(flag: &Value, forced: Option<&str>) -> CompiledFlag {
    let flag: Flag = serde_json::from_value(flag.clone()).unwrap();
    flag.check().unwrap();
    let surroundings = Surroundings { home: "production", reading: EnvironmentRules::Restrict, forced, ramp: None };
    CompiledFlag::new(&flag, &surroundings, |_| None)
}

fn at(name: &str, percentage: f64) -> CompiledFlag {
    compiled(&json!({ "name": name, "enabled": true, "rolloutPercentage": percentage }), None)
}

fn user(id: &str) -> Context<'_> {
    Context { id: Some(id), user: Some(id), ..Context::default() }
}

#[test]
fn of_a_million_ids_a_flag_at_ten_percent_reaches_ten_percent() {
    let flag = at("new-feature", 10.0);
    let reached = (0..1_000_000).filter(|n| flag.evaluate(&user(&format!("user-{n}"))).enabled).count();
    assert!((99_000..=101_000).contains(&reached), "{reached}");
}

/// Pearson's chi-square test of independence for a table of two by two; 10.83 is exceeded by
/// chance once in a thousand.
#[test]
fn two_flags_at_fifty_percent_are_independent() {
    for (one, other) in [("a", "b"), ("checkout", "checkout-2"), ("new-feature", "beta-testing")] {
        let (one, other) = (at(one, 50.0), at(other, 50.0));
        let mut seen = [[0.0_f64; 2]; 2];
        for n in 0..200_000 {
            let id = format!("user-{n}");
            let on = |flag: &CompiledFlag| usize::from(flag.evaluate(&user(&id)).enabled);
            seen[on(&one)][on(&other)] += 1.0;
        }
        let total: f64 = seen.iter().flatten().sum();
        let mut square = 0.0;
        for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let rows: f64 = seen[row].iter().sum();
            let columns = seen[0][column] + seen[1][column];
            let expected = rows * columns / total;
            square += (seen[row][column] - expected).powi(2) / expected;
        }
        assert!(square < 10.83, "{square}: {seen:?}");
    }
}

#[test]
fn a_boolean_flag_is_evaluated_without_allocating() {
    let flag = compiled(
        &json!({ "name": "f", "enabled": true, "rolloutPercentage": 50, "rules": [
            { "type": "user", "value": ["a", "b", "c"] }, { "type": "group", "value": ["beta", "staff"] }] }),
        None,
    );
    let context = Context { groups: Some("sales, staff"), ..user("somebody-with-an-id-of-a-usual-length") };
    let others = [user("b"), user("x"), Context::default()];
    let allocated = allocation_counter::measure(|| {
        for context in others.iter().chain([&context]) {
            std::hint::black_box(flag.evaluate(context));
        }
    });
    assert_eq!(allocated.count_total, 0);
}

/// The guide's three flags, and each of the reasons that it knows.
#[test]
fn the_guides_examples_with_every_reason() {
    let beta = json!({ "name": "beta-testing", "enabled": true, "rolloutPercentage": 0, "rules": [
        { "type": "user", "value": ["user-123", "user-456"] }, { "type": "group", "value": "beta-testers" }] });
    let debug = json!({ "name": "debug-mode", "enabled": true, "rolloutPercentage": 100, "rules": [
        { "type": "environment", "value": "development" }] });
    let new = json!({ "name": "new-feature", "enabled": true, "rolloutPercentage": 50, "rules": [
        { "type": "user", "value": ["admin-user"] }, { "type": "environment", "value": ["production"] }] });
    let mut off = new.clone();
    off["enabled"] = json!(false);
    let tester = Context { groups: Some("beta-testers"), ..user("someone") };
    let developer = Context { environment: Some("development"), ..user("someone") };
    // SPEC 4: the bucket of user-456 is 685, that of user-123 8,889.
    let rows = [
        (&beta, None, user("user-123"), true, Reason::Rule, Some(RuleKind::User)),
        (&beta, None, tester, true, Reason::Rule, Some(RuleKind::Group)),
        (&beta, None, user("someone"), false, Reason::Default, None),
        (&beta, Some("true"), user("someone"), true, Reason::Override, None),
        (&debug, None, user("someone"), false, Reason::Rule, Some(RuleKind::Environment)),
        (&debug, None, developer, true, Reason::Percentage, None),
        (&new, None, user("admin-user"), true, Reason::Rule, Some(RuleKind::User)),
        (&new, None, user("user-456"), true, Reason::Percentage, None),
        (&new, None, user("user-123"), false, Reason::Percentage, None),
        (&new, None, Context::default(), false, Reason::Default, None),
        (&new, Some("5"), user("user-456"), false, Reason::Override, None),
        (&new, Some("10"), user("user-456"), true, Reason::Override, None),
        (&off, None, user("admin-user"), false, Reason::Disabled, None),
    ];
    for (flag, forced, context, enabled, reason, rule) in rows {
        let found = compiled(flag, forced).evaluate(&context);
        let expected = (enabled, reason, rule);
        assert_eq!(
            (found.enabled, found.reason, found.rule_matched),
            expected,
            "{} {forced:?} {context:?}",
            flag["name"]
        );
    }
}

//! The golden vectors of the guard: the same numbers to 1e-9, the same decisions.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use serin::decide::bucket::{Bucket, Share};
use serin::decide::guard::{Alpha, Comparison, Limit, RATIOS, Rate, safety, upper_rate};

/// The generator the vectors were made with.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn draw(&mut self, below: u64) -> u16 {
        ((u128::from(self.next()) * u128::from(below)) >> 64) as u16
    }
}

fn buckets(part: &Value) -> Vec<u16> {
    if let Some(list) = part["buckets"].as_array() {
        return list.iter().map(|b| b.as_u64().unwrap() as u16).collect();
    }
    let (share, odds) = (part["share"].as_u64().unwrap() as u16, part["odds"].as_u64().unwrap());
    let events = part["events"].as_u64().unwrap() as usize;
    let users = part["users"].as_u64().unwrap_or(0);
    let mut random = SplitMix64(part["seed"].as_u64().unwrap());
    let of: Vec<u16> = (0..users).map(|_| random.draw(10_000)).collect();
    let mut out = Vec::new();
    while out.len() < events {
        let bucket = if users > 0 { of[usize::from(random.draw(users))] } else { random.draw(10_000) };
        // The vectors count 2^64/odds as a whole number, rounded down.
        if bucket < share || odds == 1 || u128::from(random.next()) < (1_u128 << 64) / u128::from(odds) {
            out.push(bucket);
        }
    }
    out
}

fn same(case: &str, found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    let scale = 1.0_f64.max(found.abs()).max(expected.abs());
    assert!((found - expected).abs() <= 1e-9 * scale, "{case}: {found} is not {expected}");
}

fn cases(kind: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(include_str!("vectors/guard.json")).unwrap();
    let of_kind: Vec<Value> = all.into_iter().filter(|case| case["kind"] == kind).collect();
    assert!(!of_kind.is_empty());
    of_kind
}

fn check_comparison(case: &Value) {
    let name = case["name"].as_str().unwrap();
    let mut comparison = Comparison::new(Alpha::new(case["alpha"].as_f64().unwrap()).unwrap());
    let expected = &case["expect"];
    let mut trace = expected["trace"].as_array().unwrap().iter();
    let mut next = trace.next();
    let (mut event, mut fired_at) = (0_u64, None);
    let check = |comparison: &Comparison, event: u64, row: &Value| {
        assert_eq!(row[0], event, "{name}");
        assert_eq!(row[1], comparison.window(), "{name}: window after {event}");
        assert_eq!(row[2], comparison.counted(), "{name}: counted after {event}");
        same(name, comparison.evidence(), &row[3]);
        same(name, comparison.evidence().ln(), &row[4]);
    };
    for part in case["parts"].as_array().unwrap() {
        if comparison.fired() {
            break;
        }
        if part["roll"] == true {
            comparison.roll();
        }
        let share = Share::from_basis_points(part["share"].as_u64().unwrap() as u16).unwrap();
        for bucket in buckets(part) {
            if comparison.fired() {
                break;
            }
            event += 1;
            comparison.event(Bucket::new(bucket).unwrap(), share);
            if comparison.fired() && fired_at.is_none() {
                fired_at = Some(event);
            }
            // The last row is the end's: it may name the same event once more.
            if let Some(row) = next.filter(|row| row[0] == event) {
                check(&comparison, event, row);
                next = trace.next();
            }
        }
    }
    check(&comparison, event, expected["trace"].as_array().unwrap().last().unwrap());
    assert_eq!(expected["fired_at"].as_u64(), fired_at, "{name}");
    assert_eq!(expected["canary"], comparison.counted_on_canary(), "{name}");
    for index in 0..RATIOS.len() {
        same(name, comparison.evidence_below(index), &expected["ratio_below"][index]);
    }
    assert_eq!(expected["at_most"].as_f64(), comparison.at_most(), "{name}");
}

#[test]
fn the_comparison_agrees_with_its_definition() {
    cases("comparison").iter().for_each(check_comparison);
}

#[test]
fn the_limit_agrees_with_its_definition() {
    for case in cases("limit") {
        let name = case["name"].as_str().unwrap();
        let rate = Rate::new(case["limit"].as_f64().unwrap()).unwrap();
        let alpha = Alpha::new(case["alpha"].as_f64().unwrap()).unwrap();
        let mut limit = Limit::new(rate, alpha, case["number"].as_u64().unwrap() as u32);
        let bucket = |value: &Value| value.as_u64().map(|b| Bucket::new(b as u16).unwrap());
        let mut fired_at = None;
        for (index, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            if limit.fired() {
                break;
            }
            limit.success(bucket(&step[1]), step[0].as_u64().unwrap());
            limit.error(bucket(&step[2]));
            if limit.fired() && fired_at.is_none() {
                fired_at = Some(index as u64 + 1);
            }
            let row = &case["expect"]["trace"][index];
            assert_eq!(row[0], limit.window(), "{name}, step {index}");
            same(name, limit.evidence(), &row[1]);
            same(name, limit.evidence().ln(), &row[2]);
        }
        assert_eq!(case["expect"]["fired_at"].as_u64(), fired_at, "{name}");
    }
}

#[test]
fn safety_and_the_upper_rate_agree_with_their_definition() {
    for row in cases("safety")[0]["rows"].as_array().unwrap() {
        let found = safety(row[0].as_f64().unwrap(), row[1].as_u64().unwrap(), row[2].as_u64().unwrap());
        same(&row.to_string(), found, &row[3]);
    }
    for row in cases("upper_rate")[0]["rows"].as_array().unwrap() {
        same(&row.to_string(), upper_rate(row[0].as_u64().unwrap(), row[1].as_u64().unwrap()), &row[2]);
    }
}

#[test]
fn the_generator_is_the_vectors_own() {
    let mut random = SplitMix64(1);
    for expected in cases("splitmix64")[0]["first"].as_array().unwrap() {
        assert_eq!(random.next().to_string(), expected.as_str().unwrap());
    }
}

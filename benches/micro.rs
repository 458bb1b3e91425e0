//! What the parts on the request's way cost: bucket, evaluate, guard update, record.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use serin::decide::bucket::{Bucket, Salt, Share};
use serin::decide::flags::{CompiledFlag, Context, EnvironmentRules, Flag, Surroundings};
use serin::decide::guard::{Alpha, Comparison, GuardPlan, Rate, StageRule};
use serin::decide::time::Moment;
use serin::subject::{Outcome, Recorded, Subject, SubjectPlan, Track};

fn buckets(c: &mut Criterion) {
    let salt = Salt::deployment("d-1795455519482-2456198b");
    c.bench_function("bucket", |b| b.iter(|| salt.bucket(black_box("user-123456"))));
}

fn flags(c: &mut Criterion) {
    let flag: Flag = serde_json::from_value(serde_json::json!({
        "name": "new-feature", "enabled": true, "rolloutPercentage": 50,
        "rules": [{ "type": "user", "value": ["admin-user", "b", "c"] }, { "type": "group", "value": "beta-testers" }]
    }))
    .unwrap();
    let surroundings =
        Surroundings { home: "production", reading: EnvironmentRules::Restrict, forced: None, ramp: None };
    let flag = CompiledFlag::new(&flag, &surroundings, |_| None);
    let (id, groups) = (Some("user-123456"), Some("staff"));
    let context = Context { id, user: id, groups, ..Context::default() };
    c.bench_function("evaluate, two rules", |b| b.iter(|| flag.evaluate(black_box(&context))));
}

fn guard(c: &mut Criterion) {
    let share = Share::from_percentage(10.0).unwrap();
    let mut comparison = Comparison::new(Alpha::DEFAULT);
    let mut next = 0_u16;
    c.bench_function("guard update", |b| {
        b.iter(|| {
            next = (next + 7_919) % 10_000;
            comparison.event(Bucket::new(black_box(next)).unwrap(), share)
        });
    });
}

fn record(c: &mut Criterion) {
    let rule = StageRule { min_requests: 100, max_error_rate: Rate::percent(5) };
    let share = Share::from_percentage(10.0).unwrap();
    let plan = SubjectPlan {
        share,
        rule,
        guard: GuardPlan::default(),
        epochs: 5,
        workers: 2,
        closes: true,
        watches_first: false,
    };
    let subject = Subject::new(plan, || ());
    let word = subject.word();
    let mut next = 0_u16;
    c.bench_function("record a success", |b| {
        b.iter(|| {
            next = (next + 7_919) % 10_000;
            let bucket = Bucket::new(next).unwrap();
            let track = if word.reaches(bucket) { Track::Canary } else { Track::Stable };
            subject.record(
                0,
                Outcome { at: Moment::ORIGIN, word, track, bucket: Some(bucket), verdict: Recorded::Success },
            );
        });
    });
}

criterion_group!(benches, buckets, flags, guard, record);
criterion_main!(benches);

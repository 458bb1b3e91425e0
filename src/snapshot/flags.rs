//! Flags as requests see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::decide::bucket::{Salt, Share};
use crate::decide::flags::{CompiledFlag, Evaluation, FlagName, field_text};
use crate::subject::{Subject, Word};
use crate::telemetry::FlagCounters;

static TRUE: HeaderValue = HeaderValue::from_static("true");
static FALSE: HeaderValue = HeaderValue::from_static("false");

/// All flags, compiled, and those of them that the app sees.
#[derive(Debug, Default)]
pub struct FlagSet {
    /// All of them.
    pub all: Arc<BTreeMap<FlagName, Arc<CompiledFlag>>>,
    /// Those that the app sees, in the order of their names.
    pub exposed: Vec<ExposedFlag>,
    /// Whether some answer to the app depends on a bucket.
    pub splits: bool,
    /// Whether some answer to the app depends on the time.
    pub asks_the_time: bool,
    /// Flags whose percentage grows by itself, in the order of their numbers.
    pub ramps: Vec<LiveRamp>,
}

impl FlagSet {
    /// How far each ramp is now.
    pub fn shares(&self) -> Vec<Share> {
        self.ramps.iter().map(|ramp| LiveRamp::share_of(ramp.subject.word(), ramp.from)).collect()
    }
}

/// A ramp as the data plane sees it.
#[derive(Clone, Debug)]
pub struct LiveRamp {
    /// Its flag.
    pub flag: FlagName,
    /// Its dial, ledgers and judge.
    pub subject: Arc<Subject>,
    /// The flag's own buckets.
    pub salt: Salt,
    /// The percentage before it.
    pub from: Share,
    /// The service whose requests count; `None`: all of them.
    pub service: Option<String>,
}

impl LiveRamp {
    /// How far a ramp is under this word of its dial: closed, it is where it was before.
    pub fn share_of(word: Word, from: Share) -> Share {
        if word.closed() { from } else { word.share() }
    }
}

/// A flag and its header.
#[derive(Debug)]
pub struct ExposedFlag {
    /// What it means.
    pub flag: Arc<CompiledFlag>,
    /// The header that tells the app.
    pub header: HeaderName,
    /// The values of its variants; empty where it is on or off.
    values: Box<[HeaderValue]>,
    /// How often it had each of its answers.
    pub counters: Arc<FlagCounters>,
}

impl ExposedFlag {
    /// A flag told by a header.
    pub fn new(flag: Arc<CompiledFlag>, header: HeaderName, counters: Arc<FlagCounters>) -> Self {
        // A write with a value that cannot be told was refused; of a file's the app's default holds.
        let text = |value| field_text(value).and_then(|text| HeaderValue::try_from(text).ok());
        let values = flag.variants().map(|(_, value)| text(value).unwrap_or(HeaderValue::from_static("")));
        Self { values: values.collect(), flag, header, counters }
    }

    /// What the app is told; `None` where its own default holds.
    pub fn value(&self, evaluation: &Evaluation) -> Option<&HeaderValue> {
        if self.values.is_empty() {
            return Some(if evaluation.enabled { &TRUE } else { &FALSE });
        }
        self.values.get(evaluation.variant?)
    }

    /// Counts an answer.
    pub fn count(&self, worker: usize, evaluation: &Evaluation) {
        let answer = match (self.values.len(), evaluation.variant) {
            (0, _) => usize::from(evaluation.enabled),
            (variants, None) => variants,
            (_, Some(number)) => number,
        };
        self.counters.count(worker, answer);
    }
}

/// The answers of a flag in words, in the order of its counters.
pub fn answers(flag: &CompiledFlag) -> Vec<String> {
    let variants: Vec<String> = flag.variants().map(|(name, _)| name.to_owned()).collect();
    if variants.is_empty() {
        return ["false", "true"].map(str::to_owned).into();
    }
    variants.into_iter().chain(["none".to_owned()]).collect()
}

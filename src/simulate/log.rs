//! Access logs: what users really asked, as traffic for a rollout.

use std::collections::HashMap;
use std::io::BufRead;
use std::time::Duration;

use serde_json::Value;

use super::random::Random;
use super::scenario::{Report, plan_of};
use super::world::{Served, World, WorldPlan};
use crate::config::DeployDefaults;
use crate::decide::bucket::Bucket;
use crate::decide::time::Moment;
use crate::subject::Track;

/// One request of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// Milliseconds since 1970.
    pub at_millis: i64,
    /// The user, or the client's address.
    pub user: String,
    /// Its status.
    pub status: u16,
    /// How long it took, where the log says so.
    pub latency: Option<Duration>,
}

/// A line that is none of a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither the combined log format nor JSON with time, user and status: {0}")]
pub struct LogError(String);

impl std::str::FromStr for LogLine {
    type Err = LogError;

    fn from_str(line: &str) -> Result<Self, LogError> {
        let parsed = if line.starts_with('{') { from_json(line) } else { from_combined(line) };
        parsed.ok_or_else(|| LogError(line.chars().take(80).collect()))
    }
}

/// `{"time": "2026-01-01T00:00:00Z", "user": "u-1", "status": 200, "latency": 0.012}`, as
/// Serin's own access log; time also as seconds since 1970, latency in seconds, `client`
/// where there is no `user`.
fn from_json(line: &str) -> Option<LogLine> {
    let value: Value = serde_json::from_str(line).ok()?;
    let at_millis = match &value["time"] {
        Value::String(text) => text.parse::<jiff::Timestamp>().ok()?.as_millisecond(),
        number => (number.as_f64()? * 1e3) as i64,
    };
    let named = |key: &str| match &value[key] {
        Value::String(user) => Some(user.clone()),
        Value::Number(user) => Some(user.to_string()),
        _ => None,
    };
    let user = named("user").or_else(|| named("client"))?;
    let latency = value["latency"].as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Some(LogLine { at_millis, user, status: u16::try_from(value["status"].as_u64()?).ok()?, latency })
}

/// `address - user [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 512 "referer" "agent" 0.012`:
/// the combined log format, with the time it took (seconds) behind it where it is there.
fn from_combined(line: &str) -> Option<LogLine> {
    let (client, rest) = line.split_once(" [")?;
    let (time, rest) = rest.split_once("] \"")?;
    let mut names = client.split(' ');
    let address = names.next()?;
    let user = names.nth(1).filter(|user| *user != "-").unwrap_or(address);
    let status_at = rest.find("\" ")? + 2;
    let status = rest[status_at..].split(' ').next()?.parse().ok()?;
    let last = rest.rsplit(' ').next().filter(|last| last.contains('.'));
    let latency = last.and_then(|last| last.parse().ok()).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Some(LogLine { at_millis: clf_time(time)?, user: user.to_owned(), status, latency })
}

/// `01/Jan/2026:00:00:00 +0000`
fn clf_time(text: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let part = |range: std::ops::Range<usize>| text.get(range);
    let number = |range| part(range)?.parse::<i64>().ok();
    let month = MONTHS.find(part(3..6)?)? as i8 / 3 + 1;
    let date = jiff::civil::Date::new(number(7..11)? as i16, month, number(0..2)? as i8).ok()?;
    let days = i64::from(date.since(jiff::civil::Date::constant(1970, 1, 1)).ok()?.get_days());
    let seconds = number(12..14)? * 3_600 + number(15..17)? * 60 + number(18..20)?;
    let zone = number(22..24)? * 3_600 + number(24..26)? * 60;
    let zone = if part(21..22)? == "-" { -zone } else { zone };
    Some((days * 86_400 + seconds - zone) * 1_000)
}

/// What a log is played with.
#[derive(Clone, Debug)]
pub struct Logged<'a> {
    /// How the version is deployed.
    pub deploy: &'a DeployDefaults,
    /// The statuses that are errors.
    pub errors: &'a crate::config::StatusSet,
    /// Errors that the canary has beside those of the log, a fraction of 1.
    pub canary_errors: f64,
    /// The canary's latencies as multiples of the log's.
    pub canary_slower: f64,
    /// What is drawn depends on it.
    pub seed: u64,
}

impl Logged<'_> {
    /// Plays a log; lines that are none are counted and left out.
    ///
    /// # Errors
    /// Where it cannot be read, or where none of its lines is one.
    pub fn run(&self, log: impl BufRead) -> std::io::Result<(Report, u64)> {
        let plan = plan_of(self.deploy);
        let id = format!("simulated-{}", self.seed);
        // A log has its lines when answers were complete: nothing is in flight.
        let mut world = World::new(WorldPlan { plan: plan.clone(), guard: self.deploy.guard, id, in_flight: false });
        let mut random = Random::new(self.seed);
        let mut users: HashMap<String, (Bucket, bool)> = HashMap::new();
        let (mut first, mut wrong) = (None, 0);
        let mut problem = None;
        for line in log.lines() {
            let line = match line?.parse::<LogLine>() {
                Ok(line) => line,
                Err(error) => {
                    wrong += 1;
                    problem.get_or_insert(error);
                    continue;
                }
            };
            let began = *first.get_or_insert(line.at_millis);
            let passed = Duration::from_millis(u64::try_from(line.at_millis - began).unwrap_or(0));
            world.pass(Moment::ORIGIN + passed);
            if world.state().ended() {
                break;
            }
            let (bucket, unlucky) = users.entry(line.user).or_insert_with_key(|user| (world.bucket(user), false));
            world.request(*bucket, |track| {
                let canary = track == Track::Canary;
                let error = self.errors.contains(line.status) || (canary && random.chance(self.canary_errors));
                *unlucky |= canary && error;
                let slower = if canary { self.canary_slower } else { 1.0 };
                Served { error, latency: line.latency.unwrap_or_default().mul_f64(slower) }
            });
        }
        if let (None, Some(error)) = (first, problem) {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, error));
        }
        world.settle();
        let unlucky = users.values().filter(|(_, unlucky)| *unlucky).count() as u64;
        Ok((Report::of(&world, &plan, unlucky), wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let combined = r#"203.0.113.7 - - [01/Jan/2026:10:00:05 +0100] "GET /a HTTP/1.1" 502 12 "-" "curl/8" 0.250"#;
        let line: LogLine = combined.parse().unwrap();
        assert_eq!((line.user.as_str(), line.status), ("203.0.113.7", 502));
        assert_eq!(line.latency, Some(Duration::from_millis(250)));
        let json = r#"{"time":"2026-01-01T09:00:05Z","user":"203.0.113.7","status":502,"latency":0.25}"#;
        assert_eq!(json.parse::<LogLine>().unwrap(), line, "the same moment");
        let plain: LogLine = r#"h - anna [29/Feb/2024:23:59:59 +0000] "GET / HTTP/1.0" 200 -"#.parse().unwrap();
        assert_eq!((plain.user.as_str(), plain.latency), ("anna", None));
        for wrong in ["", "{}", "hello", r#"h - - [x] "GET / HTTP/1.0" 200 -"#, r#"{"time":1,"user":"u"}"#] {
            assert!(wrong.parse::<LogLine>().is_err(), "{wrong}");
        }
    }
}

//! Where a canary fails: routes by what happened, in bounded memory, and a few requests to look up.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// No more routes are told apart; errors on others are counted as one.
const ROUTES_MAX: usize = 200;
/// No more request ids are kept.
const SAMPLES_MAX: usize = 5;
/// A route is no longer than that.
const ROUTE_MAX: usize = 120;
const SEGMENTS_MAX: usize = 8;
/// A longer segment is most likely an id, too.
const SEGMENT_MAX: usize = 32;
const OTHER: &str = "other routes";

/// An error of the canary.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    /// The request's method.
    pub method: &'a str,
    /// Its path.
    pub path: &'a str,
    /// The status, or the kind of the error.
    pub what: &'a str,
    /// What to search logs for.
    pub request_id: &'a str,
}

/// Errors on one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteErrors {
    /// `POST /cart/:n`
    pub route: String,
    /// The status, or the kind of the error.
    pub what: String,
    /// How many.
    pub errors: u64,
}

#[derive(Debug, Default)]
pub(super) struct Witness(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    routes: HashMap<(String, String), u64>,
    samples: Vec<String>,
}

impl Witness {
    pub(super) fn saw(&self, failed: Failed<'_>) {
        let route = format!("{} {}", failed.method, template(failed.path));
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            seen.routes.len() < ROUTES_MAX || seen.routes.contains_key(&(route.clone(), failed.what.to_owned()));
        let key = if known { (route, failed.what.to_owned()) } else { (OTHER.to_owned(), String::new()) };
        *seen.routes.entry(key).or_default() += 1;
        if seen.samples.len() < SAMPLES_MAX {
            seen.samples.push(failed.request_id.to_owned());
        }
    }

    /// The routes with the most errors, and some request ids.
    pub(super) fn tells(&self, most: usize) -> (Vec<RouteErrors>, Vec<String>) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let route = |((route, what), errors): (&(String, String), &u64)| RouteErrors {
            route: route.clone(),
            what: what.clone(),
            errors: *errors,
        };
        let mut routes: Vec<RouteErrors> = seen.routes.iter().map(route).collect();
        routes.sort_by(|a, b| b.errors.cmp(&a.errors).then_with(|| (&a.route, &a.what).cmp(&(&b.route, &b.what))));
        routes.truncate(most);
        (routes, seen.samples.clone())
    }
}

/// A path with its ids taken out: `/cart/42/items/7` is `/cart/:n/items/:n`.
fn template(path: &str) -> String {
    let mut route = String::new();
    for (index, segment) in path.split('/').skip(1).enumerate() {
        if index == SEGMENTS_MAX || route.len() + segment.len() > ROUTE_MAX {
            route.push_str("/…");
            break;
        }
        route.push('/');
        route.push_str(placeholder(segment).unwrap_or(segment));
    }
    route
}

fn placeholder(segment: &str) -> Option<&'static str> {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let hex = segment.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    match segment.len() {
        0 => None,
        length if length == digits => Some(":n"),
        length if length >= 8 && hex && digits > 0 => Some(":id"),
        length if length > SEGMENT_MAX || !segment.is_ascii() || segment.contains('%') => Some(":x"),
        // Letters and digits mixed at random: most likely an id.
        length if length >= 16 && digits >= 3 => Some(":id"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_out_of_paths() {
        for (path, route) in [
            ("/", "/"),
            ("/cart/42/items/7", "/cart/:n/items/:n"),
            ("/users/3f2a9c1e-0b1d-4c55-9d57-6a1f4e0d1b2c", "/users/:id"),
            ("/v1/face", "/v1/face"),
            ("/files/caf%C3%A9", "/files/:x"),
            ("/s/a8Kd03kfLs92kdjfw", "/s/:id"),
            ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/…"),
        ] {
            assert_eq!(template(path), route);
        }
    }

    #[test]
    fn memory_is_bounded_whatever_clients_ask_for() {
        let witness = Witness::default();
        for n in 0..10_000 {
            let path = format!("/page-{n}x");
            witness.saw(Failed { method: "GET", path: &path, what: "500", request_id: "id" });
        }
        let (routes, samples) = witness.tells(50);
        assert_eq!((routes.len(), samples.len()), (50, SAMPLES_MAX));
        assert_eq!((routes[0].route.as_str(), routes[0].errors), (OTHER, 10_000 - ROUTES_MAX as u64));
    }
}

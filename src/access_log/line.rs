//! What a line says, in its three forms.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use http::{Method, Version};
use serde::Serialize;

use crate::config::AccessLogFormat;

/// How an answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum End {
    /// With its last byte.
    #[default]
    Complete,
    /// The app broke it off.
    Truncated,
    /// The client left before.
    ClientLeft,
    /// Serin ended: it lived past `drain.timeout`.
    Cut,
}

/// One request and what became of it. What is not known is not said.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// RFC 3339; when it had ended.
    pub time: String,
    /// The client's address: the peer's, or what trusted peers say it is.
    pub client: IpAddr,
    /// Stands for the user: the same one for the same id, and nothing can be read from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// As the app saw it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// The method; empty where no head was understood.
    #[serde(serialize_with = "text")]
    pub method: Option<Method>,
    /// The host as it came.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The target as it came.
    pub target: String,
    /// The protocol's version.
    #[serde(serialize_with = "protocol")]
    pub protocol: Version,
    /// What the client got; 499: nothing, it left; 0: nothing, it was cut.
    pub status: u16,
    /// Of the body that went to the client.
    pub bytes: u64,
    /// From the request's head to the answer's end.
    pub duration: f64,
    /// To the head of the answer, as it is judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<f64>,
    /// How the answer ended.
    pub end: End,
    /// Where it went; `None`: nowhere.
    #[serde(flatten)]
    pub served: Option<Served>,
    /// Why Serin answered itself, as in `serin-error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    /// From `Referer`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub referer: String,
    /// From `User-Agent`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
}

/// Where a request went, and what it said of its track.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Served {
    /// The service.
    pub service: String,
    /// The track it was assigned to: the outcome is charged to it.
    pub track: &'static str,
    /// Why, in the words of `x-serin-reason`.
    pub reason: &'static str,
    /// The outcome; `None`: none of any track.
    pub outcome: Option<&'static str>,
    /// What saved the answer: retry, shield, skew or fallback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescue: Option<&'static str>,
    /// The pool that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The version it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The app server that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// A span as lines have it: in seconds, to the microsecond.
pub fn seconds(span: Duration) -> f64 {
    span.as_micros() as f64 / 1e6
}

fn text<S: serde::Serializer>(method: &Option<Method>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(method.as_ref().map_or("", Method::as_str))
}

fn protocol<S: serde::Serializer>(version: &Version, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{version:?}"))
}

impl Line {
    /// Writes it behind others.
    pub fn write(&self, format: AccessLogFormat, lines: &mut Vec<u8>) {
        // Writing to memory cannot fail.
        match format {
            AccessLogFormat::Json => drop(serde_json::to_writer(&mut *lines, self)),
            AccessLogFormat::Common => self.write_common(lines),
            AccessLogFormat::Combined => {
                self.write_common(lines);
                for field in [&self.referer, &self.user_agent] {
                    lines.extend_from_slice(b" \"");
                    escape(if field.is_empty() { "-" } else { field }, lines);
                    lines.push(b'"');
                }
            }
        }
        lines.push(b'\n');
    }

    /// `client - - [time] "request" status bytes`
    fn write_common(&self, lines: &mut Vec<u8>) {
        let _ = write!(lines, "{} - - [{}] \"", self.client, clf_time(&self.time));
        match &self.method {
            Some(method) => {
                escape(&format!("{method} {} {:?}", self.target, self.protocol), lines);
            }
            None => lines.push(b'-'),
        }
        let _ = write!(lines, "\" {} {}", self.status, self.bytes);
    }
}

/// `2026-01-31T10:00:00.000Z` as `31/Jan/2026:10:00:00 +0000`.
fn clf_time(rfc3339: &str) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let part = |range: std::ops::Range<usize>| rfc3339.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.wrapping_sub(1)));
    format!("{}/{}/{}:{} +0000", part(8..10), month.unwrap_or(&"Jan"), part(0..4), part(11..19))
}

/// What could end a field or a line, or is no ASCII, is written as `\xHH`.
fn escape(text: &str, lines: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | 0..0x20 | 0x7f.. => drop(write!(lines, "\\x{byte:02X}")),
            byte => lines.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            time: "2026-02-28T23:59:59.123Z".into(),
            client: [203, 0, 113, 7].into(),
            user: Some("00ff".into()),
            request_id: "r-1".into(),
            method: Some(Method::GET),
            host: "shop.test".into(),
            target: "/a?b=\"c".into(),
            protocol: Version::HTTP_11,
            status: 200,
            bytes: 12,
            duration: 0.25,
            latency: Some(0.2),
            end: End::Complete,
            served: None,
            error: None,
            referer: String::new(),
            user_agent: "evil\"\n\\agent".into(),
        }
    }

    #[test]
    fn a_line_is_one_line_whatever_the_client_says() {
        let written = |format| {
            let mut lines = Vec::new();
            line().write(format, &mut lines);
            String::from_utf8(lines).unwrap()
        };
        assert_eq!(
            written(AccessLogFormat::Common),
            "203.0.113.7 - - [28/Feb/2026:23:59:59 +0000] \"GET /a?b=\\x22c HTTP/1.1\" 200 12\n"
        );
        assert_eq!(
            written(AccessLogFormat::Combined),
            "203.0.113.7 - - [28/Feb/2026:23:59:59 +0000] \"GET /a?b=\\x22c HTTP/1.1\" 200 12 \"-\" \
             \"evil\\x22\\x0A\\x5Cagent\"\n"
        );
        let json: serde_json::Value = serde_json::from_str(&written(AccessLogFormat::Json)).unwrap();
        assert_eq!(json["userAgent"], "evil\"\n\\agent");
        assert_eq!((json["protocol"].as_str(), json["duration"].as_f64()), (Some("HTTP/1.1"), Some(0.25)));
        assert_eq!(written(AccessLogFormat::Json).lines().count(), 1);
    }
}

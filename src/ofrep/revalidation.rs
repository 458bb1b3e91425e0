//! Entity tags of answers (RFC 9110 sections 8.8.3 and 13.1.2).

use http::HeaderMap;
use http::header::IF_NONE_MATCH;
use xxhash_rust::xxh3::xxh3_128;

/// A strong tag of a body.
pub(super) fn tag(body: &[u8]) -> String {
    format!("\"{:032x}\"", xxh3_128(body))
}

/// Whether the client has what this tag is of. The comparison is weak: a hop that compresses
/// may have weakened the tag. The protocol wants 304 on POST, too.
pub(super) fn has_it(asked: &HeaderMap, tag: &str) -> bool {
    let fields = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = fields.flat_map(|field| field.split(',')).map(str::trim);
    known.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn lists_repeats_stars_and_weak_tags() {
        let tag = tag(b"body");
        let has = |fields: &[&str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(IF_NONE_MATCH, HeaderValue::from_str(field).unwrap());
            }
            has_it(&headers, &tag)
        };
        assert!(has(&[&tag]) && has(&["*"]) && has(&[&format!("\"a\", W/{tag}")]) && has(&["\"a\"", &tag]));
        assert!(!has(&[]) && !has(&["\"a\""]) && !has(&[tag.trim_matches('"')]));
    }
}

//! Tokens of the public listener.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::Secret;

/// Whether a caller has one of the tokens, where there are any: `Authorization: Bearer` or
/// `X-API-Key`, as clients of the protocol send it.
///
/// # Errors
/// What is missing.
pub(super) fn check(tokens: &[Secret], headers: &HeaderMap) -> Result<(), &'static str> {
    if tokens.is_empty() {
        return Ok(());
    }
    let given = given(headers).ok_or("this needs a token: Authorization: Bearer … or X-API-Key")?;
    // Digests have one length: comparing them says nothing about a token's.
    let digest = Sha256::digest(given.as_bytes());
    let mut found = false;
    for token in tokens {
        found |= bool::from(Sha256::digest(token.bytes()).ct_eq(&digest));
    }
    if found { Ok(()) } else { Err("this token is not known") }
}

fn given(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or_else(|| headers.get("x-api-key")?.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_in_one_of_two_fields() {
        let tokens = [Secret::new("client-token-0001"), Secret::new("client-token-0002")];
        let check = |name: &'static str, value: &'static str| {
            check(&tokens, &HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])).is_ok()
        };
        assert!(check("authorization", "Bearer client-token-0002") && check("x-api-key", "client-token-0001"));
        assert!(!check("authorization", "Basic client-token-0002") && !check("x-api-key", "client-token-000"));
        assert!(!check("x-other", "client-token-0001"));
        assert!(super::check(&[], &HeaderMap::new()).is_ok());
    }
}

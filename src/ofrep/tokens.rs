//! Tokens of the public listener.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::Secret;

/// The caller's token, where there are any: `Authorization: Bearer` or `X-API-Key`, as clients of
/// the protocol send it.
///
/// # Errors
/// What is missing.
pub(super) fn check<'t>(tokens: &'t [Secret], headers: &HeaderMap) -> Result<Option<&'t Secret>, &'static str> {
    if tokens.is_empty() {
        return Ok(None);
    }
    let given = given(headers).ok_or("this needs a token: Authorization: Bearer … or X-API-Key")?;
    let found = one_of(tokens, given.as_bytes(), |token| token.bytes().to_vec());
    found.map(Some).ok_or("this token is not known")
}

/// What opens the stream of signals in the place of a token: browsers send no fields of a page's
/// there. The token cannot be read from it, and the stream says nothing of flags.
pub(super) fn pass(token: &Secret) -> String {
    let digest = Sha256::new().chain_update("serin ofrep events\0").chain_update(token.bytes()).finalize();
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a query has the pass of one of the tokens.
pub(super) fn passes(tokens: &[Secret], query: &str) -> bool {
    let given = query.split('&').find_map(|part| part.strip_prefix("pass="));
    given.is_some_and(|given| one_of(tokens, given.as_bytes(), |token| pass(token).into_bytes()).is_some())
}

/// All are compared, so that the time says nothing about which one it was; and digests have one
/// length: comparing them says nothing about a text's.
fn one_of<'t>(tokens: &'t [Secret], given: &[u8], text: impl Fn(&Secret) -> Vec<u8>) -> Option<&'t Secret> {
    let digest = Sha256::digest(given);
    let mut found = None;
    for token in tokens {
        if bool::from(Sha256::digest(text(token)).ct_eq(&digest)) {
            found = Some(token);
        }
    }
    found
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

    #[test]
    fn a_pass_is_of_one_token_and_no_token_itself() {
        let tokens = [Secret::new("client-token-0001"), Secret::new("client-token-0002")];
        let own = pass(&tokens[1]);
        assert!(passes(&tokens, &format!("a=b&pass={own}")) && own.len() == 32);
        assert!(!passes(&tokens[..1], &format!("pass={own}")), "its token is gone");
        for other in ["", "pass=", "pass=client-token-0001", own.as_str()] {
            assert!(!passes(&tokens, other), "{other}");
        }
        assert!(check(&tokens, &HeaderMap::from_iter([("x-api-key".parse().unwrap(), own.parse().unwrap())])).is_err());
    }
}

//! Identities that somebody has signed: `id.code` with an HMAC, or a JSON Web Token.
//!
//! Owns: which key checks what, and what a signed text says. Touches: the key file it is
//! told of, once. The key decides which algorithm is taken; a token that names another one
//! is none (RFC 8725 section 3.1).

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};
use sha2::Sha256;

/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Clocks differ (RFC 7519 section 4.1.4).
const LEEWAY_SECONDS: u64 = 60;

/// How signed identities are opened.
pub struct Signed(Kind);

enum Kind {
    Hmac(Hmac<Sha256>),
    Jwt { keys: Vec<Key>, claim: String },
}

/// A key of tokens.
struct Key {
    /// Its name in a set; a key without one checks all tokens.
    id: Option<String>,
    key: DecodingKey,
    validation: Validation,
}

/// What tokens are checked with.
#[derive(Clone, Debug)]
pub enum JwtKey {
    /// HS256, by this secret.
    Secret(Vec<u8>),
    /// RS256 or ES256, by the public key in this PEM file.
    Pem(PathBuf),
    /// RS256 and ES256, by the keys in this file (RFC 7517).
    Set(PathBuf),
}

/// What a token has to say.
#[derive(Clone, Debug)]
pub struct JwtRules {
    /// The claim that is the id.
    pub claim: String,
    /// Its `iss`, where that matters.
    pub issuer: Option<String>,
    /// Its `aud`, where that matters.
    pub audience: Option<String>,
}

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("{file} has {found}; {expected}")]
    Strange {
        /// Which one.
        file: PathBuf,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
}

impl std::fmt::Debug for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signed(…)")
    }
}

impl Signed {
    /// `id.code`, the code being the HMAC-SHA256 of the id (RFC 2104), in hexadecimal digits
    /// or base64 of either alphabet.
    pub fn hmac(secret: &[u8]) -> Self {
        // HMAC takes keys of any length.
        #[allow(clippy::expect_used)]
        Self(Kind::Hmac(Hmac::new_from_slice(secret).expect("any length")))
    }

    /// A JSON Web Token (RFC 7519).
    ///
    /// # Errors
    /// What is wrong with the key file.
    pub fn jwt(key: JwtKey, rules: JwtRules) -> Result<Self, KeyError> {
        let keys = match key {
            JwtKey::Secret(secret) => {
                vec![rules.key(None, Algorithm::HS256, DecodingKey::from_secret(&secret))]
            }
            JwtKey::Pem(file) => {
                let (algorithm, key) = public_key(&file)?;
                vec![rules.key(None, algorithm, key)]
            }
            JwtKey::Set(file) => key_set(&file, &rules)?,
        };
        Ok(Self(Kind::Jwt { keys, claim: rules.claim }))
    }

    /// What a text says that was signed; of a claim with several values all of them, with
    /// commas between.
    pub fn open<'a>(&self, text: &'a str) -> Option<Cow<'a, str>> {
        match &self.0 {
            Kind::Hmac(mac) => {
                let (id, code) = text.rsplit_once('.')?;
                let mut mac = mac.clone();
                mac.update(id.as_bytes());
                mac.verify_slice(&code_bytes(code)?).ok()?;
                Some(Cow::Borrowed(id))
            }
            Kind::Jwt { keys, claim } => open_token(text, keys, claim).map(Cow::Owned),
        }
    }
}

impl JwtRules {
    fn key(&self, id: Option<String>, algorithm: Algorithm, key: DecodingKey) -> Key {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        match &self.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.required_spec_claims.insert("aud".to_owned());
            }
            // Nobody said which one would be right.
            None => validation.validate_aud = false,
        }
        Key { id, key, validation }
    }
}

/// The bytes of a code of 256 bits.
fn code_bytes(code: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);
    match code.len() {
        64 => (0..64).step_by(2).map(|at| u8::from_str_radix(code.get(at..at + 2)?, 16).ok()).collect(),
        43 | 44 => STANDARD.decode(code).or_else(|_| URL_SAFE.decode(code)).ok(),
        _ => None,
    }
}

fn open_token(text: &str, keys: &[Key], claim: &str) -> Option<String> {
    let token = match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => text,
    };
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let named = decode_header(token).ok()?.kid;
    let key = match &named {
        Some(name) => keys.iter().find(|key| key.id.as_deref().is_none_or(|id| id == name))?,
        None => keys.first().filter(|_| keys.len() == 1)?,
    };
    let claims = decode::<Map<String, Value>>(token, &key.key, &key.validation).ok()?.claims;
    match claims.get(claim)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(values) => Some(values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")),
        _ => None,
    }
}

fn read(file: &Path) -> Result<Vec<u8>, KeyError> {
    std::fs::read(file).map_err(|source| KeyError::Unreadable { file: file.to_owned(), source })
}

fn public_key(file: &Path) -> Result<(Algorithm, DecodingKey), KeyError> {
    let text = read(file)?;
    let rsa = DecodingKey::from_rsa_pem(&text).map(|key| (Algorithm::RS256, key));
    rsa.or_else(|_| DecodingKey::from_ec_pem(&text).map(|key| (Algorithm::ES256, key))).map_err(|_| KeyError::Strange {
        file: file.to_owned(),
        found: "no public key of RSA or P-256".to_owned(),
        expected: "a PEM file with `BEGIN PUBLIC KEY` is expected",
    })
}

fn key_set(file: &Path, rules: &JwtRules) -> Result<Vec<Key>, KeyError> {
    const EXPECTED: &str = "a JSON Web Key Set with public keys for RS256 or ES256 is expected";
    let strange = |found: String| KeyError::Strange { file: file.to_owned(), found, expected: EXPECTED };
    let set: JwkSet = serde_json::from_slice(&read(file)?).map_err(|error| strange(format!("no key set ({error})")))?;
    let keys: Vec<Key> = set
        .keys
        .iter()
        .filter_map(|jwk| Some(rules.key(jwk.common.key_id.clone(), algorithm(jwk)?, DecodingKey::from_jwk(jwk).ok()?)))
        .collect();
    if keys.is_empty() {
        return Err(strange("no key for signatures that is known here".to_owned()));
    }
    Ok(keys)
}

/// What a key of a set is for; `None`: for something else.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    match (&jwk.algorithm, jwk.common.key_algorithm) {
        (AlgorithmParameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => Some(Algorithm::RS256),
        (AlgorithmParameters::EllipticCurve(curve), None | Some(KeyAlgorithm::ES256))
            if curve.curve == EllipticCurve::P256 =>
        {
            Some(Algorithm::ES256)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    const SECRET: &[u8] = b"0123456789abcdef";

    fn rules() -> JwtRules {
        JwtRules { claim: "sub".to_owned(), issuer: Some("https://id.test".to_owned()), audience: None }
    }

    fn token(algorithm: Algorithm, claims: &Value, key: &EncodingKey) -> String {
        encode(&Header::new(algorithm), claims, key).unwrap()
    }

    fn later() -> u64 {
        crate::clock::unix_seconds() + 600
    }

    #[test]
    fn an_id_is_believed_with_its_code_in_each_of_its_forms() {
        let signed = Signed::hmac(SECRET);
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
        mac.update(b"u.1");
        let code = mac.finalize().into_bytes();
        let hexadecimal: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        let standard = base64::engine::general_purpose::STANDARD.encode(code);
        let url_safe = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(code);
        for code in [&hexadecimal, &hexadecimal.to_uppercase(), &standard, &url_safe] {
            assert_eq!(signed.open(&format!("u.1.{code}")).as_deref(), Some("u.1"), "{code}");
            assert_eq!(signed.open(&format!("u.2.{code}")), None);
        }
        for wrong in
            ["", ".", "u.1", "u.1.", &format!("u.1.{}", &hexadecimal[1..]), &format!("u.1.{}é", &hexadecimal[2..])]
        {
            assert_eq!(signed.open(wrong), None, "{wrong}");
        }
        assert_eq!(Signed::hmac(b"another secret..").open(&format!("u.1.{hexadecimal}")), None);
    }

    #[test]
    fn a_token_is_believed_with_its_signature_in_its_time_and_from_its_issuer() {
        let signed = Signed::jwt(JwtKey::Secret(SECRET.to_vec()), rules()).unwrap();
        let key = EncodingKey::from_secret(SECRET);
        let good = json!({ "sub": "u-1", "iss": "https://id.test", "exp": later() });
        let text = token(Algorithm::HS256, &good, &key);
        assert_eq!(signed.open(&text).as_deref(), Some("u-1"));
        assert_eq!(signed.open(&format!("Bearer {text}")).as_deref(), Some("u-1"));
        let wrong = [
            json!({ "sub": "u-1", "iss": "https://id.test" }),
            json!({ "sub": "u-1", "iss": "https://id.test", "exp": 1 }),
            json!({ "sub": "u-1", "iss": "https://evil.test", "exp": later() }),
            json!({ "sub": "u-1", "exp": later() }),
            json!({ "sub": "u-1", "iss": "https://id.test", "exp": later(), "nbf": later() }),
            json!({ "iss": "https://id.test", "exp": later() }),
        ];
        for claims in wrong {
            assert_eq!(signed.open(&token(Algorithm::HS256, &claims, &key)), None, "{claims}");
        }
        assert_eq!(signed.open(&token(Algorithm::HS384, &good, &key)), None, "another algorithm");
        assert_eq!(signed.open(&token(Algorithm::HS256, &good, &EncodingKey::from_secret(b"x"))), None);
        let mut parts: Vec<&str> = text.split('.').collect();
        // {"alg":"none"}
        parts[0] = "eyJhbGciOiJub25lIn0";
        assert_eq!(signed.open(&parts.join(".")), None);
        parts[2] = "";
        assert_eq!(signed.open(&parts.join(".")), None);
    }

    #[test]
    fn several_groups_are_one_list() {
        let rules = JwtRules { claim: "groups".to_owned(), issuer: None, audience: Some("shop".to_owned()) };
        let signed = Signed::jwt(JwtKey::Secret(SECRET.to_vec()), rules).unwrap();
        let claims = json!({ "groups": ["staff", "beta"], "exp": later(), "aud": ["shop", "other"] });
        let key = EncodingKey::from_secret(SECRET);
        assert_eq!(signed.open(&token(Algorithm::HS256, &claims, &key)).as_deref(), Some("staff,beta"));
        let claims = json!({ "groups": ["staff"], "exp": later() });
        assert_eq!(signed.open(&token(Algorithm::HS256, &claims, &key)), None, "for nobody");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in ".*") {
            let _ = (Signed::hmac(SECRET).open(&text), code_bytes(&text));
            let signed = Signed::jwt(JwtKey::Secret(SECRET.to_vec()), rules()).unwrap();
            proptest::prop_assert!(signed.open(&text).is_none());
        }
    }
}

//! `private_key_jwt`: a JWT by which a client authenticates.
//!
//! Source: [RFC 7523 §3](https://www.rfc-editor.org/rfc/rfc7523#section-3), with the rules of
//! draft-ietf-oauth-rfc7523bis-11 for `aud` and `typ`.

use edgepass_jose::jwk_set::KeyMatch;
use edgepass_jose::{Algorithm, ClaimsSet, CompactJws, Jwk};
use edgepass_verify::UnixMillis;
use edgepass_verify::native::check_signature;
use edgepass_verify::signature::{Checked, check};

use super::keys::ClientKeys;
use crate::used_id::{IdKind, UsedId};

/// The `typ` of an assertion that says one.
const TYPE: &str = "client-authentication+jwt";
/// The longest assertion, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// The longest time from now to `exp`, in seconds. Some libraries ask for an hour by default.
const LONGEST: u64 = 60 * 60;
/// The allowed difference of clocks, in seconds.
const LEEWAY: u64 = 30;

/// An assertion before its signature is checked.
pub struct Assertion {
    jws: CompactJws,
    claims: ClaimsSet,
}

/// The reason why an assertion does not authenticate the client. The texts repeat nothing of it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AssertionError {
    /// The text is no signed JWT, or is longer than 16 KiB.
    #[error("client_assertion is no signed JWT")]
    Malformed,
    /// `typ` is present and neither `client-authentication+jwt` nor `JWT`.
    #[error("client_assertion: typ must be client-authentication+jwt")]
    Type,
    /// `iss` and `sub` are not both the `client_id`.
    #[error("client_assertion: iss and sub must be the client_id")]
    Subject,
    /// `aud` is not the issuer identifier, as a string.
    #[error("client_assertion: aud must be the issuer identifier alone, as a string")]
    Audience,
    /// `exp` is missing, past, or more than an hour ahead; or `nbf` or `iat` is in the future.
    #[error("client_assertion: exp must be within the next hour, nbf and iat not in the future")]
    Time,
    /// `jti` is missing or empty.
    #[error("client_assertion: jti is missing")]
    JwtId,
    /// No key of the client verifies the signature.
    #[error("client_assertion: no registered key of the client verifies it")]
    Signature,
}

impl Assertion {
    /// Parses an assertion.
    ///
    /// # Errors
    ///
    /// [`AssertionError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, AssertionError> {
        let jws = CompactJws::parse(text, MAX_BYTES).map_err(|_| AssertionError::Malformed)?;
        let claims = jws.claims().map_err(|_| AssertionError::Malformed)?;
        Ok(Self { jws, claims })
    }

    /// The `client_id` that the assertion names, to find the client's keys. It is not verified.
    pub fn claimed_client(&self) -> Option<&str> {
        self.claims.required_string("sub").ok()
    }

    /// Whether the assertion authenticates the client with these keys to `issuer`. Returns the use of
    /// its `jti`, which must be the first.
    ///
    /// # Errors
    ///
    /// [`AssertionError`].
    pub fn check(
        &self,
        client_id: &str,
        keys: &ClientKeys,
        issuer: &str,
        now: UnixMillis,
    ) -> Result<UsedId, AssertionError> {
        // RFC 8725 §3.11: a JWT of another kind must not pass for an assertion.
        let header = self.jws.header();
        let has_type = header.members().contains_key("typ");
        if has_type && !header.has_type(TYPE) && !header.has_type("JWT") {
            return Err(AssertionError::Type);
        }
        if !self.verifies(keys) {
            return Err(AssertionError::Signature);
        }
        let text = |name| self.claims.required_string(name).ok();
        if text("iss") != Some(client_id) || text("sub") != Some(client_id) {
            return Err(AssertionError::Subject);
        }
        // An array is refused, also of one: the value of another server could follow it.
        if text("aud") != Some(issuer) {
            return Err(AssertionError::Audience);
        }
        let expiration = self.expiration(now).ok_or(AssertionError::Time)?;
        let jwt_id = text("jti").filter(|id| !id.is_empty()).ok_or(AssertionError::JwtId)?;
        let until = expiration.saturating_add(LEEWAY);
        Ok(UsedId::new(IdKind::ClientAssertion, &[client_id, jwt_id], until))
    }

    /// `exp` in seconds, if all times are right.
    fn expiration(&self, now: UnixMillis) -> Option<u64> {
        let now = now.numeric_date().seconds();
        let expiration = self.claims.expiration().ok()??.seconds();
        let soon = now.saturating_add(LEEWAY);
        let begins = [self.claims.not_before().ok()?, self.claims.issued_at().ok()?];
        let has_begun = begins.into_iter().flatten().all(|begin| begin.seconds() <= soon);
        let is_right = expiration.saturating_add(LEEWAY) > now
            && expiration <= soon.saturating_add(LONGEST)
            && has_begun;
        is_right.then_some(expiration)
    }

    fn verifies(&self, keys: &ClientKeys) -> bool {
        let header = self.jws.header();
        let Some(algorithm) = Algorithm::from_name(header.algorithm()) else { return false };
        let verifies = |key: &Jwk| match check(key, &self.jws) {
            Checked::Here(valid) => valid,
            Checked::ByHost(request) => check_signature(&request),
        };
        match keys.set().find(header.key_id(), algorithm) {
            KeyMatch::One(key) => verifies(key),
            KeyMatch::Two(first, second) => verifies(first) || verifies(second),
            // A client with one registered key need not name it.
            KeyMatch::None | KeyMatch::Unfit => match keys.set().keys() {
                [only] if only.key_id().is_none() && only.algorithm() == algorithm => {
                    verifies(only)
                }
                _ => false,
            },
        }
    }
}

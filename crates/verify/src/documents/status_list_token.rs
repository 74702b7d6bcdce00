//! The only reader of status list tokens, for verifiers, issuers and tools.

use edgepass_jose::json::parse_document;
use edgepass_jose::jwk_set::KeyMatch;
use edgepass_jose::{Algorithm, CompactJws, Jwk, JwkSet, NumericDate};
use edgepass_status_list::StatusListClaims;
use edgepass_status_list::claims::{STATUS_LIST_TYPE, StatusListError};
use edgepass_status_list::list::ListError;
use serde_json::Value;

use crate::documents::refused::Refused;
use crate::signature::{self, Checked, SignatureRequest};

/// The lifetime of a list without `exp`, in seconds from its `iat`. The draft sets none.
const LIFETIME_WITHOUT_EXPIRATION: u64 = 24 * 60 * 60;

/// The rules for accepting a status list token.
#[derive(Clone, Copy, Debug)]
pub struct ListRules<'a> {
    /// The algorithms that are allowed in `alg`.
    pub algorithms: &'a [Algorithm],
    /// The longest accepted token, in bytes.
    pub max_token_bytes: usize,
    /// The largest accepted list after inflation, in bytes.
    pub max_list_bytes: usize,
    /// The maximum age by `iat`, in seconds. `None`: only `exp` bounds the age.
    pub max_age: Option<u64>,
}

/// A status list token whose key was found. Its signature may not have been checked.
pub struct StatusListToken {
    jws: CompactJws,
    key: Jwk,
}

impl StatusListToken {
    /// Parses a token and finds its key in `keys`, by `kid` and `alg`.
    ///
    /// Source: draft-ietf-oauth-status-list-20 §8.3, the steps before the signature.
    ///
    /// # Errors
    ///
    /// [`Refused::Malformed`], also for a token that is too long; [`Refused::Type`];
    /// [`Refused::Key`] for an unknown key or an algorithm that is not allowed.
    pub fn parse(bytes: &[u8], keys: &JwkSet, rules: &ListRules<'_>) -> Result<Self, Refused> {
        // A list that was written to a file may end in a line break.
        let text = std::str::from_utf8(bytes.trim_ascii_end());
        let text = text.map_err(|_| Refused::Malformed)?;
        let jws = CompactJws::parse(text, rules.max_token_bytes);
        let jws = jws.map_err(|_| Refused::Malformed)?;
        if !jws.header().has_type(STATUS_LIST_TYPE) {
            return Err(Refused::Type);
        }
        let algorithm = Algorithm::from_name(jws.header().algorithm());
        let algorithm = algorithm.filter(|own| rules.algorithms.contains(own));
        match keys.find(jws.header().key_id(), algorithm.ok_or(Refused::Key)?) {
            KeyMatch::One(key) => Ok(Self { key: key.clone(), jws }),
            // One key, published for several tenants.
            KeyMatch::Two(key, other) if key.key() == other.key() => {
                Ok(Self { key: key.clone(), jws })
            }
            // A list is not tried with several keys.
            KeyMatch::Two(..) | KeyMatch::Unfit | KeyMatch::None => Err(Refused::Key),
        }
    }

    /// Returns the key that was found for the token's header.
    pub fn key(&self) -> &Jwk {
        &self.key
    }

    /// Checks the token's signature, or returns the request to the host.
    pub fn check_signature(&self) -> Checked {
        signature::check(&self.key, &self.jws)
    }

    /// Returns the claims of the token. Call this only after its signature was found valid. Does
    /// not check whether the list has expired; see [`expiration`].
    ///
    /// # Errors
    ///
    /// [`Refused::Malformed`]; [`Refused::TooLarge`] for an inflated list above `max_list_bytes`;
    /// [`Refused::Subject`] if `sub` is not `uri`.
    pub fn claims(&self, uri: &str, rules: &ListRules<'_>) -> Result<StatusListClaims, Refused> {
        let claims = self.jws.claims().map_err(|_| Refused::Malformed)?;
        let claims = StatusListClaims::from_claims(&claims, rules.max_list_bytes);
        let claims = claims.map_err(|error| match error {
            StatusListError::List(ListError::TooLarge) => Refused::TooLarge,
            _ => Refused::Malformed,
        })?;
        if claims.subject == uri { Ok(claims) } else { Err(Refused::Subject) }
    }
}

/// Reads the status list of `uri` and checks its signature, if need be with the host's crypto.
/// Does not check whether the list has expired; see [`expiration`].
///
/// # Errors
///
/// As [`StatusListToken::parse`] and [`StatusListToken::claims`]. [`Refused::Signature`].
pub fn read(
    bytes: &[u8],
    uri: &str,
    keys: &JwkSet,
    rules: &ListRules<'_>,
    host: impl FnOnce(&SignatureRequest) -> bool,
) -> Result<StatusListClaims, Refused> {
    let token = StatusListToken::parse(bytes, keys, rules)?;
    let is_valid = match token.check_signature() {
        Checked::Here(valid) => valid,
        Checked::ByHost(request) => host(&request),
    };
    if is_valid { token.claims(uri, rules) } else { Err(Refused::Signature) }
}

/// Returns the second from which on a list must not be used: `exp`, or `iat` plus the maximum age
/// if that is earlier. No leeway is added. A list without `exp` may be used for 24 hours after its
/// `iat`.
pub fn expiration(claims: &StatusListClaims, rules: &ListRules<'_>) -> NumericDate {
    let own =
        claims.expiration.unwrap_or_else(|| claims.issued_at.plus(LIFETIME_WITHOUT_EXPIRATION));
    match rules.max_age {
        Some(age) => own.min(claims.issued_at.plus(age)),
        None => own,
    }
}

/// The URIs that an aggregation names, in its order. `None` if it is malformed.
///
/// Source: draft-ietf-oauth-status-list-20 §9.
pub(super) fn aggregation(bytes: &[u8]) -> Option<Vec<String>> {
    let mut members = parse_document(bytes).ok()?;
    let Some(Value::Array(uris)) = members.remove("status_lists") else { return None };
    let text = |uri| match uri {
        Value::String(uri) => Some(uri),
        _ => None,
    };
    uris.into_iter().map(text).collect()
}

//! The claims of a status list token.

use edgepass_jose::flat::ValueRef;
use edgepass_jose::{ClaimsSet, NumericDate};

use crate::list::{Bits, ListError, StatusList};

/// A status list token's payload, checked for form. Its signature is the caller's to check.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusListClaims {
    /// `sub`: the URI the list is published under.
    pub subject: String,
    /// `iat`.
    pub issued_at: NumericDate,
    /// `exp`: from this second on the list must not be relied on.
    pub expiration: Option<NumericDate>,
    /// `ttl`, in seconds from when the list was fetched: how long it may be used before it is asked for
    /// again.
    pub ttl: Option<u64>,
    /// The private claim `number`: strictly increasing, as RFC 5280's CRL Number.
    pub number: Option<u64>,
    /// `aggregation_uri`: where the issuer names all its lists.
    pub aggregation_uri: Option<String>,
    /// The statuses.
    pub list: StatusList,
}

/// Why a payload is not that of a status list token.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StatusListError {
    /// A required claim is absent or has the wrong type.
    #[error("a claim of the status list token is absent or has the wrong type")]
    ClaimInvalid,
    /// `bits` is not 1, 2, 4 or 8.
    #[error("bits is not 1, 2, 4 or 8")]
    BitsInvalid,
    /// `lst` cannot be decoded.
    #[error("lst cannot be decoded")]
    List(#[from] ListError),
}

/// The media subtype in `typ` and in the response's Content-Type.
pub const STATUS_LIST_TYPE: &str = "statuslist+jwt";

impl StatusListClaims {
    /// Check the claims' form and inflate the list to at most `max_bytes`.
    ///
    /// Source: draft-ietf-oauth-status-list-20 §5.1 and §8.3.
    pub fn from_claims(claims: &ClaimsSet, max_bytes: usize) -> Result<Self, StatusListError> {
        const INVALID: StatusListError = StatusListError::ClaimInvalid;
        let whole = |name| match claims.get(name) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or(INVALID),
        };
        let list = claims.get("status_list").ok_or(INVALID)?;
        let lst = list.get("lst").and_then(ValueRef::as_str).ok_or(INVALID)?;
        let bits = list.get("bits").and_then(ValueRef::as_u64).and_then(Bits::from_number);
        let ttl = claims.get("ttl").map(positive_seconds);
        Ok(Self {
            subject: claims.required_string("sub").map_err(|_| INVALID)?.to_owned(),
            issued_at: claims.issued_at().map_err(|_| INVALID)?.ok_or(INVALID)?,
            expiration: claims.expiration().map_err(|_| INVALID)?,
            ttl: ttl.map(|ttl| ttl.ok_or(INVALID)).transpose()?,
            number: whole("number")?,
            aggregation_uri: list
                .get("aggregation_uri")
                .map(|uri| uri.as_str().map(str::to_owned).ok_or(INVALID))
                .transpose()?,
            // Last: inflating costs the most.
            list: StatusList::decode(bits.ok_or(StatusListError::BitsInvalid)?, lst, max_bytes)?,
        })
    }
}

/// A positive number of seconds; a fraction counts as a whole one.
fn positive_seconds(value: ValueRef<'_>) -> Option<u64> {
    NumericDate::ceil(value.as_number()?).map(NumericDate::seconds).filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(payload: &Value) -> Result<StatusListClaims, StatusListError> {
        let claims = ClaimsSet::parse(payload.to_string().as_bytes()).unwrap();
        StatusListClaims::from_claims(&claims, 1 << 20)
    }

    fn payload() -> Value {
        json!({"sub": "https://issuer.example/1", "iat": 100, "exp": 200, "ttl": 5,
            "status_list": {"bits": 1, "lst": "eNrbuRgAAhcBXQ", "aggregation_uri": "https://x/a"}})
    }

    #[test]
    fn every_claim_is_checked_for_form() {
        assert!(read(&payload()).is_ok());
        for (pointer, value, expected) in [
            ("/sub", json!(1), StatusListError::ClaimInvalid),
            ("/iat", json!("1"), StatusListError::ClaimInvalid),
            ("/exp", json!(null), StatusListError::ClaimInvalid),
            ("/ttl", json!(0), StatusListError::ClaimInvalid),
            ("/ttl", json!(-1), StatusListError::ClaimInvalid),
            ("/status_list", json!([]), StatusListError::ClaimInvalid),
            ("/status_list/aggregation_uri", json!(1), StatusListError::ClaimInvalid),
            ("/status_list/bits", json!(0), StatusListError::BitsInvalid),
            ("/status_list/bits", json!(3), StatusListError::BitsInvalid),
            ("/status_list/bits", json!("1"), StatusListError::BitsInvalid),
            ("/status_list/lst", json!("AAAA"), StatusListError::List(ListError::NotZlib)),
        ] {
            let mut changed = payload();
            *changed.pointer_mut(pointer).unwrap() = value.clone();
            assert_eq!(read(&changed), Err(expected), "{pointer} {value}");
        }
    }
}

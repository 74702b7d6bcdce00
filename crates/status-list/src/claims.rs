//! The claims of a status list token.

use edgepass_jose::flat::ValueRef;
use edgepass_jose::{ClaimsSet, NumericDate};

use crate::list::{Bits, ListError, StatusList};

/// The payload of a status list token, checked for form. The caller checks the signature.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusListClaims {
    /// `sub`: the URI under which the list is published.
    pub subject: String,
    /// `iat`: the time of issue, rounded up to whole seconds.
    pub issued_at: NumericDate,
    /// `exp`, rounded down to whole seconds: the list must not be used from this second on.
    pub expiration: Option<NumericDate>,
    /// `nbf`, rounded up to whole seconds: the list must not be used before this second.
    pub not_before: Option<NumericDate>,
    /// `ttl`, in seconds, rounded up and greater than 0: how long a fetched list may be cached
    /// before it should be fetched again. At most [`NumericDate::MAX`].
    pub ttl: Option<u64>,
    /// The private claim `number`: increases strictly with each edition, as the CRL Number of RFC
    /// 5280 does.
    pub number: Option<u64>,
    /// The private claim `head_uri`: the URI of the status head, which names the current edition of
    /// every list of the issuer. A list with it is current only while a head says so.
    pub head_uri: Option<String>,
    /// `aggregation_uri`: the URI of the aggregation, in which the issuer names all its lists.
    pub aggregation_uri: Option<String>,
    /// `lst`, decompressed.
    pub list: StatusList,
}

/// The reason why the payload of a status list token is refused.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StatusListError {
    /// A required claim is absent, or a claim has the wrong type or is out of range.
    #[error("a claim of the status list token is absent, has the wrong type or is out of range")]
    ClaimInvalid,
    /// `bits` is absent, or not 1, 2, 4 or 8.
    #[error("bits is not 1, 2, 4 or 8")]
    BitsInvalid,
    /// `lst` cannot be decoded.
    #[error("lst cannot be decoded")]
    List(#[from] ListError),
}

/// The media subtype of status list tokens, in `typ` and in the Content-Type of responses.
pub const STATUS_LIST_TYPE: &str = "statuslist+jwt";

impl StatusListClaims {
    /// Checks the form of the claims and inflates the list, which may have at most `max_bytes`.
    /// Does not compare `exp` and `nbf` with the time.
    ///
    /// Source: draft-ietf-oauth-status-list-20 §5.1 and §8.3.
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_jose::ClaimsSet;
    /// use edgepass_status_list::{StatusListClaims, StatusType};
    ///
    /// let payload = br#"{"sub":"https://issuer.example/1","iat":100,"ttl":5,
    ///     "status_list":{"bits":1,"lst":"eNrbuRgAAhcBXQ"}}"#;
    /// let claims = StatusListClaims::from_claims(&ClaimsSet::parse(payload)?, 1 << 20)?;
    /// assert_eq!((claims.ttl, claims.expiration), (Some(5), None));
    /// assert_eq!(claims.list.status(0), Some(StatusType::Invalid));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
            not_before: claims.not_before().map_err(|_| INVALID)?,
            ttl: ttl.map(|ttl| ttl.ok_or(INVALID)).transpose()?,
            number: whole("number")?,
            head_uri: claims.string("head_uri").map_err(|_| INVALID)?.map(str::to_owned),
            aggregation_uri: list
                .get("aggregation_uri")
                .map(|uri| uri.as_str().map(str::to_owned).ok_or(INVALID))
                .transpose()?,
            // Inflating costs the most, so it comes last.
            list: StatusList::decode(bits.ok_or(StatusListError::BitsInvalid)?, lst, max_bytes)?,
        })
    }
}

/// Reads a number of seconds and rounds a fraction up. A number above [`NumericDate::MAX`] becomes
/// that. `None` unless the result is greater than 0.
fn positive_seconds(value: ValueRef<'_>) -> Option<u64> {
    let number = value.as_number()?;
    let is_beyond =
        number.as_f64().is_some_and(|seconds| seconds > NumericDate::MAX.seconds() as f64);
    let seconds = if is_beyond { NumericDate::MAX } else { NumericDate::ceil(number)? };
    Some(seconds.seconds()).filter(|seconds| *seconds > 0)
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
        json!({"sub": "https://issuer.example/1", "iat": 100, "exp": 200, "nbf": 90, "ttl": 5,
            "head_uri": "https://x/h", "status_list": {"bits": 1, "lst": "eNrbuRgAAhcBXQ", "aggregation_uri": "https://x/a"}})
    }

    #[test]
    fn every_claim_is_checked_for_form() {
        assert!(read(&payload()).is_ok());
        for (pointer, value, expected) in [
            ("/sub", json!(1), StatusListError::ClaimInvalid),
            ("/iat", json!("1"), StatusListError::ClaimInvalid),
            ("/exp", json!(null), StatusListError::ClaimInvalid),
            ("/nbf", json!("1"), StatusListError::ClaimInvalid),
            ("/head_uri", json!(1), StatusListError::ClaimInvalid),
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

    #[test]
    fn a_ttl_beyond_all_bounds_is_cut_to_the_bound() {
        for (ttl, expected) in [
            (json!(0.2), 1),
            (json!(NumericDate::MAX.seconds()), NumericDate::MAX.seconds()),
            (json!(NumericDate::MAX.seconds() + 1), NumericDate::MAX.seconds()),
            (json!(u64::MAX), NumericDate::MAX.seconds()),
            (json!(1e300), NumericDate::MAX.seconds()),
        ] {
            let mut changed = payload();
            changed["ttl"] = ttl.clone();
            assert_eq!(read(&changed).unwrap().ttl, Some(expected), "{ttl}");
        }
    }
}

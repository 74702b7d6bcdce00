//! The claim `status` of a referenced token: the list and the index of its status.

use edgepass_jose::ClaimsSet;
use edgepass_jose::claims::{ClaimError, ClaimName};
use edgepass_jose::flat::ValueRef;

/// `status.status_list` of an access token (draft section 6.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusReference {
    /// `uri`: the URI of the status list token, whose `sub` must equal it.
    pub uri: String,
    /// `idx`: the index of the token's status in the list.
    pub index: u64,
}

impl StatusReference {
    /// Reads the claim. Returns `None` when the token has no claim `status`.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Invalid`]`("status")` when the claim has no well-formed `status_list`. A token
    /// with an unknown status mechanism must not count as one without a status.
    ///
    /// Source: draft-ietf-oauth-status-list-20 §6.1 and §6.2.
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_jose::ClaimsSet;
    /// use edgepass_status_list::StatusReference;
    ///
    /// let text = br#"{"status":{"status_list":{"idx":7,"uri":"https://issuer.example/1"}}}"#;
    /// let reference = StatusReference::from_claims(&ClaimsSet::parse(text)?)?.unwrap();
    /// assert_eq!((reference.index, reference.uri.as_str()), (7, "https://issuer.example/1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_claims(claims: &ClaimsSet) -> Result<Option<Self>, ClaimError> {
        const INVALID: ClaimError = ClaimError::Invalid(ClaimName::Borrowed("status"));
        let Some(status) = claims.get("status") else { return Ok(None) };
        let list = status.get("status_list").ok_or(INVALID)?;
        let uri = list.get("uri").and_then(ValueRef::as_str).ok_or(INVALID)?;
        let index = list.get("idx").and_then(ValueRef::as_u64).ok_or(INVALID)?;
        Ok(Some(Self { uri: uri.to_owned(), index }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<StatusReference>, ClaimError> {
        StatusReference::from_claims(&ClaimsSet::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_malformed_status_is_not_an_absent_one() {
        let uri = "https://issuer.example/1".to_owned();
        let whole = r#"{"status":{"status_list":{"idx":7,"uri":"https://issuer.example/1"}}}"#;
        assert_eq!(read(whole), Ok(Some(StatusReference { uri, index: 7 })));
        assert_eq!(read("{}"), Ok(None));
        for text in [
            r#"{"status":null}"#,
            r#"{"status":{}}"#,
            r#"{"status":{"other":{}}}"#,
            r#"{"status":{"status_list":{"uri":"u"}}}"#,
            r#"{"status":{"status_list":{"idx":-1,"uri":"u"}}}"#,
            r#"{"status":{"status_list":{"idx":1.5,"uri":"u"}}}"#,
            r#"{"status":{"status_list":{"idx":"1","uri":"u"}}}"#,
            r#"{"status":{"status_list":{"idx":1,"uri":1}}}"#,
            r#"{"status":{"status_list":[1]}}"#,
        ] {
            assert_eq!(read(text), Err(ClaimError::invalid("status")), "{text}");
        }
    }
}

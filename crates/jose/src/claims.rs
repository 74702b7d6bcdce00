//! The JWT Claims Set: typed access that tells "absent" from "of the wrong type".

use serde_json::Value;

use crate::json::JsonObject;
use crate::numeric_date::NumericDate;

/// The claims of a JWT (RFC 7519 §4).
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimsSet(JsonObject);

/// Why a claim cannot be used; holds its registered name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClaimError {
    /// The claim is required and absent.
    #[error("the claim {0} is absent")]
    Missing(&'static str),
    /// The claim is present with the wrong type or form.
    #[error("the claim {0} has the wrong type or form")]
    Invalid(&'static str),
}

impl ClaimsSet {
    /// From a parsed payload.
    pub fn new(members: JsonObject) -> Self {
        Self(members)
    }

    /// All claims.
    pub fn members(&self) -> &JsonObject {
        &self.0
    }

    /// A claim as written.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A string claim, if present.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Invalid`] when present as anything but a string.
    pub fn string(&self, name: &'static str) -> Result<Option<&str>, ClaimError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ClaimError::Invalid(name)),
        }
    }

    /// A string claim that must be there and not be empty.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Missing`], [`ClaimError::Invalid`].
    pub fn required_string(&self, name: &'static str) -> Result<&str, ClaimError> {
        match self.string(name)? {
            None => Err(ClaimError::Missing(name)),
            Some("") => Err(ClaimError::Invalid(name)),
            Some(text) => Ok(text),
        }
    }

    /// `exp`, rounded down (RFC 7519 §4.1.4).
    ///
    /// # Errors
    ///
    /// [`ClaimError::Invalid`] when it is no NumericDate.
    pub fn expiration(&self) -> Result<Option<NumericDate>, ClaimError> {
        self.date("exp", NumericDate::floor)
    }

    /// `nbf`, rounded up (RFC 7519 §4.1.5).
    ///
    /// # Errors
    ///
    /// [`ClaimError::Invalid`] when it is no NumericDate.
    pub fn not_before(&self) -> Result<Option<NumericDate>, ClaimError> {
        self.date("nbf", NumericDate::ceil)
    }

    /// `iat`, rounded up (RFC 7519 §4.1.6).
    ///
    /// # Errors
    ///
    /// [`ClaimError::Invalid`] when it is no NumericDate.
    pub fn issued_at(&self) -> Result<Option<NumericDate>, ClaimError> {
        self.date("iat", NumericDate::ceil)
    }

    /// `aud`: one string or a non-empty array of strings (RFC 7519 §4.1.3).
    ///
    /// # Errors
    ///
    /// [`ClaimError::Missing`], [`ClaimError::Invalid`].
    pub fn audience(&self) -> Result<Vec<&str>, ClaimError> {
        const INVALID: ClaimError = ClaimError::Invalid("aud");
        match self.0.get("aud") {
            None => Err(ClaimError::Missing("aud")),
            Some(Value::String(one)) => Ok(vec![one]),
            Some(Value::Array(many)) if !many.is_empty() => {
                many.iter().map(|item| item.as_str().ok_or(INVALID)).collect()
            }
            Some(_) => Err(INVALID),
        }
    }

    fn date(
        &self,
        name: &'static str,
        read: fn(&Value) -> Option<NumericDate>,
    ) -> Result<Option<NumericDate>, ClaimError> {
        self.0.get(name).map(|value| read(value).ok_or(ClaimError::Invalid(name))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(text: &str) -> ClaimsSet {
        ClaimsSet::new(crate::json::parse_object(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_wrong_type_is_never_absence() {
        let invalid = |name| Err(ClaimError::Invalid(name));
        assert_eq!(claims(r#"{"exp":"1"}"#).expiration(), invalid("exp"));
        assert_eq!(claims(r#"{"exp":null}"#).expiration(), invalid("exp"));
        assert_eq!(claims(r#"{"nbf":false}"#).not_before(), invalid("nbf"));
        assert_eq!(
            claims(r#"{"iss":["a"]}"#).required_string("iss"),
            Err(ClaimError::Invalid("iss"))
        );
        assert_eq!(claims("{}").required_string("iss"), Err(ClaimError::Missing("iss")));
        assert_eq!(claims("{}").expiration(), Ok(None));
    }

    #[test]
    fn audience_is_a_string_or_a_list_of_strings() {
        assert_eq!(claims(r#"{"aud":"a"}"#).audience(), Ok(vec!["a"]));
        assert_eq!(claims(r#"{"aud":["a","b"]}"#).audience(), Ok(vec!["a", "b"]));
        for text in [r#"{"aud":[]}"#, r#"{"aud":1}"#, r#"{"aud":["a",1]}"#, r#"{"aud":{}}"#] {
            assert_eq!(claims(text).audience(), Err(ClaimError::Invalid("aud")), "{text}");
        }
        assert_eq!(claims("{}").audience(), Err(ClaimError::Missing("aud")));
    }
}

//! The JWT Claims Set: typed access that distinguishes an absent claim from one of a wrong type.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Number;

use crate::flat::{FlatObject, ValueRef};
use crate::json::{JsonObject, NotAnObject};
use crate::numeric_date::NumericDate;

/// The claims of a JWT (RFC 7519 §4). Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimsSet(Arc<FlatObject>);

/// The name of a claim: registered, or taken from a policy. Never text from a token.
pub type ClaimName = Cow<'static, str>;

/// The reason why a claim cannot be used, with the name of the claim.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClaimError {
    /// The claim is required and absent.
    #[error("the claim {0} is absent")]
    Missing(ClaimName),
    /// The claim is present, but has the wrong type or form.
    #[error("the claim {0} has the wrong type or form")]
    Invalid(ClaimName),
}

impl ClaimsSet {
    /// Parses a payload: one JSON object and nothing after it.
    ///
    /// # Errors
    ///
    /// [`NotAnObject`] when [`parse_object`](crate::json::parse_object) would refuse the payload.
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_jose::ClaimsSet;
    /// use edgepass_jose::claims::ClaimError;
    ///
    /// let claims = ClaimsSet::parse(br#"{"iss":"https://a.example","aud":["b","c"],"exp":9.5}"#)?;
    /// assert_eq!(claims.required_string("iss")?, "https://a.example");
    /// assert_eq!(claims.required_string("sub"), Err(ClaimError::missing("sub")));
    /// assert_eq!(claims.expiration()?.map(|exp| exp.seconds()), Some(9));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parse(payload: &[u8]) -> Result<Self, NotAnObject> {
        FlatObject::parse(payload).map(|object| Self(Arc::new(object)))
    }

    /// The memory allocated for the texts and nodes of the claims, in bytes. Clones share it.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Copies all claims to a map, for display.
    pub fn members(&self) -> JsonObject {
        self.0.to_members()
    }

    /// Returns the claim with this name, of any type, or `None` when it is absent.
    pub fn get(&self, name: &str) -> Option<ValueRef<'_>> {
        self.0.get(name)
    }

    /// Returns the object that holds the claims.
    pub fn root(&self) -> ValueRef<'_> {
        self.0.root()
    }

    /// Returns a string claim, or `None` when it is absent.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Invalid`] when the claim is not a string.
    pub fn string(&self, name: &str) -> Result<Option<&str>, ClaimError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| ClaimError::invalid(name))
    }

    /// Returns a required string claim that is not empty.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Missing`] when it is absent. [`ClaimError::Invalid`] when it is empty or not a
    /// string.
    pub fn required_string(&self, name: &str) -> Result<&str, ClaimError> {
        match self.string(name)? {
            None => Err(ClaimError::missing(name)),
            Some("") => Err(ClaimError::invalid(name)),
            Some(text) => Ok(text),
        }
    }

    /// Returns `exp`, rounded down to whole seconds (RFC 7519 §4.1.4), or `None` when it is absent.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Invalid`] when it is not a number, or not from 1970 to [`NumericDate::MAX`].
    pub fn expiration(&self) -> Result<Option<NumericDate>, ClaimError> {
        self.date("exp", NumericDate::floor)
    }

    /// Returns `nbf`, rounded up to whole seconds (RFC 7519 §4.1.5), or `None` when it is absent.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Invalid`] when it is not a number, or not from 1970 to [`NumericDate::MAX`].
    pub fn not_before(&self) -> Result<Option<NumericDate>, ClaimError> {
        self.date("nbf", NumericDate::ceil)
    }

    /// Returns `iat`, rounded up to whole seconds (RFC 7519 §4.1.6), or `None` when it is absent.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Invalid`] when it is not a number, or not from 1970 to [`NumericDate::MAX`].
    pub fn issued_at(&self) -> Result<Option<NumericDate>, ClaimError> {
        self.date("iat", NumericDate::ceil)
    }

    fn date(
        &self,
        name: &'static str,
        read: fn(&Number) -> Option<NumericDate>,
    ) -> Result<Option<NumericDate>, ClaimError> {
        let read = |value: ValueRef<'_>| {
            value.as_number().and_then(read).ok_or_else(|| ClaimError::invalid(name))
        };
        self.0.get(name).map(read).transpose()
    }
}

impl ClaimError {
    /// Makes the error for an absent claim `name`.
    pub fn missing(name: &str) -> Self {
        Self::Missing(name.to_owned().into())
    }

    /// Makes the error for a claim `name` of the wrong type or form.
    pub fn invalid(name: &str) -> Self {
        Self::Invalid(name.to_owned().into())
    }
}

/// The audience of a token: one identifier or several.
#[derive(Clone, Copy)]
pub struct Audience<'c>(ValueRef<'c>);

impl<'c> Audience<'c> {
    /// Reads the audience: one string or a non-empty array of strings (RFC 7519 §4.1.3). `None` for
    /// another form.
    pub fn of(value: ValueRef<'c>) -> Option<Self> {
        let texts = |value: ValueRef<'_>| {
            let mut items = value.as_array()?.peekable();
            Some(items.peek().is_some() && items.all(|item| item.as_str().is_some()))
        };
        (value.as_str().is_some() || texts(value) == Some(true)).then_some(Self(value))
    }

    /// Whether `identifier` is in the audience. The comparison is exact.
    pub fn contains(&self, identifier: &str) -> bool {
        let is_it = |value: ValueRef<'_>| value.as_str() == Some(identifier);
        is_it(self.0) || self.0.as_array().is_some_and(|mut items| items.any(is_it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(text: &str) -> ClaimsSet {
        ClaimsSet::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_wrong_type_is_never_absence() {
        let invalid = |name| Err(ClaimError::invalid(name));
        assert_eq!(claims(r#"{"exp":"1"}"#).expiration(), invalid("exp"));
        assert_eq!(claims(r#"{"exp":null}"#).expiration(), invalid("exp"));
        assert_eq!(claims(r#"{"nbf":false}"#).not_before(), invalid("nbf"));
        assert_eq!(
            claims(r#"{"iss":["a"]}"#).required_string("iss"),
            Err(ClaimError::invalid("iss"))
        );
        assert_eq!(claims("{}").required_string("iss"), Err(ClaimError::missing("iss")));
        assert_eq!(claims("{}").expiration(), Ok(None));
    }

    #[test]
    fn audience_is_a_string_or_a_list_of_strings() {
        let contains = |text: &str, identifier: &str| {
            let claims = claims(text);
            let aud = claims.get("aud").ok_or_else(|| ClaimError::missing("aud"))?;
            let audience = Audience::of(aud).ok_or_else(|| ClaimError::invalid("aud"))?;
            Ok(audience.contains(identifier))
        };
        for (text, a, b) in [(r#"{"aud":"a"}"#, true, false), (r#"{"aud":["c","b"]}"#, false, true)]
        {
            assert_eq!(contains(text, "a"), Ok(a), "{text}");
            assert_eq!(contains(text, "b"), Ok(b), "{text}");
        }
        for text in [r#"{"aud":[]}"#, r#"{"aud":1}"#, r#"{"aud":["a",1]}"#, r#"{"aud":{}}"#] {
            assert_eq!(contains(text, "a"), Err(ClaimError::invalid("aud")), "{text}");
        }
        assert_eq!(contains("{}", "a"), Err(ClaimError::missing("aud")));
    }
}

//! The JOSE header of a JWS. Headers with unsupported extensions are refused.

use crate::flat::FlatObject;
use crate::json::JsonObject;

/// A JOSE header without unsupported extensions.
///
/// `jku`, `jwk`, `x5u` and `x5c` may be present and are ignored.
#[derive(Clone, Debug)]
pub struct JoseHeader(FlatObject);

/// The reason why a JOSE header is refused.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeaderError {
    /// [`parse_object`](crate::json::parse_object) would refuse the header.
    #[error("not a JSON object")]
    NotAnObject,
    /// `alg`, `kid`, `typ` or `cty` is not a string, or `alg` is absent.
    #[error("a registered header member has the wrong type, or alg is absent")]
    MemberInvalid,
    /// The header has `crit`, `b64`, `zip` or `enc`, or its `cty` declares a JWT as the payload.
    /// Each of these changes how the JWS is read.
    #[error("crit, b64, zip, enc and nested JWTs are not supported")]
    ExtensionNotSupported,
}

impl JoseHeader {
    /// Parses the decoded header.
    ///
    /// Source: [RFC 7515 §4.1](https://www.rfc-editor.org/rfc/rfc7515#section-4.1), §5.2 steps 3 to
    /// 5; RFC 7797 §7: JWTs MUST NOT use `b64`.
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_jose::JoseHeader;
    ///
    /// let header = JoseHeader::parse(br#"{"alg":"ES256","typ":"at+jwt","kid":"1"}"#)?;
    /// assert_eq!((header.algorithm(), header.key_id()), ("ES256", Some("1")));
    /// assert!(header.has_type("at+jwt"));
    /// assert!(JoseHeader::parse(br#"{"alg":"ES256","crit":["exp"]}"#).is_err());
    /// # Ok::<(), edgepass_jose::header::HeaderError>(())
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self, HeaderError> {
        let members = FlatObject::parse(text).map_err(|_| HeaderError::NotAnObject)?;
        if ["crit", "b64", "zip", "enc"].iter().any(|name| members.get(name).is_some()) {
            return Err(HeaderError::ExtensionNotSupported);
        }
        // RFC 7519 §5.2: `cty` is JWT when the payload is itself a JWT.
        if string(&members, "cty")?.is_some_and(|cty| is_media_type(cty, "JWT")) {
            return Err(HeaderError::ExtensionNotSupported);
        }
        string(&members, "alg")?.ok_or(HeaderError::MemberInvalid)?;
        string(&members, "kid")?;
        string(&members, "typ")?;
        Ok(Self(members))
    }

    /// Returns `alg`, which may name an unknown algorithm.
    pub fn algorithm(&self) -> &str {
        self.text("alg").unwrap_or_default()
    }

    /// Returns `kid`, or `None` when it is absent. It is an opaque string: never use it as a path,
    /// a query or a URL.
    pub fn key_id(&self) -> Option<&str> {
        self.text("kid")
    }

    /// Whether `typ` is the media type `application/<subtype>`. The comparison ignores ASCII case,
    /// and `typ` may omit `application/` (RFC 7515 §4.1.9). `false` when `typ` is absent.
    pub fn has_type(&self, subtype: &str) -> bool {
        self.text("typ").is_some_and(|typ| is_media_type(typ, subtype))
    }

    /// The allocated memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Copies all members to a map, for display.
    pub fn members(&self) -> JsonObject {
        self.0.to_members()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }
}

fn is_media_type(text: &str, subtype: &str) -> bool {
    const PREFIX: &str = "application/";
    let short = match text.split_at_checked(PREFIX.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(PREFIX) => rest,
        _ => text,
    };
    short.eq_ignore_ascii_case(subtype)
}

fn string<'h>(members: &'h FlatObject, name: &str) -> Result<Option<&'h str>, HeaderError> {
    let Some(value) = members.get(name) else { return Ok(None) };
    value.as_str().map(Some).ok_or(HeaderError::MemberInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_extensions_and_wrong_types() {
        use HeaderError::*;
        for (text, expected) in [
            (r#"{}"#, MemberInvalid),
            (r#"{"alg":1}"#, MemberInvalid),
            (r#"{"alg":"ES256","kid":1}"#, MemberInvalid),
            (r#"{"alg":"ES256","typ":null}"#, MemberInvalid),
            (r#"{"alg":"ES256","crit":[]}"#, ExtensionNotSupported),
            (r#"{"alg":"ES256","crit":["exp"],"exp":1}"#, ExtensionNotSupported),
            (r#"{"alg":"ES256","b64":true}"#, ExtensionNotSupported),
            (r#"{"alg":"ES256","zip":"DEF"}"#, ExtensionNotSupported),
            (r#"{"alg":"dir","enc":"A128GCM"}"#, ExtensionNotSupported),
            (r#"{"alg":"ES256","cty":"jwt"}"#, ExtensionNotSupported),
            (r#"{"alg":"ES256","cty":"application/JWT"}"#, ExtensionNotSupported),
            (r#"{"alg":"ES256","cty":1}"#, MemberInvalid),
            (r#"{"alg":"ES256","alg":"ES256"}"#, NotAnObject),
            (r#"["ES256"]"#, NotAnObject),
        ] {
            assert_eq!(JoseHeader::parse(text.as_bytes()).err(), Some(expected), "{text}");
        }
    }

    #[test]
    fn typ_is_compared_as_a_media_type() {
        for (typ, expected) in [
            ("at+jwt", true),
            ("at+JWT", true),
            ("application/at+jwt", true),
            ("APPLICATION/AT+JWT", true),
            ("JWT", false),
            ("at+jwt ", false),
            ("text/at+jwt", false),
            ("application/application/at+jwt", false),
            ("ſt+jwt", false),
        ] {
            let text = serde_json::json!({"alg": "ES256", "typ": typ}).to_string();
            let header = JoseHeader::parse(text.as_bytes()).unwrap();
            assert_eq!(header.has_type("at+jwt"), expected, "{typ}");
        }
    }
}

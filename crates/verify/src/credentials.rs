//! Reading the token out of a request.

use crate::error::VerifyError;

/// How the caller presented the token.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Presentation {
    /// `Authorization: Bearer` (RFC 6750 §2.1).
    #[default]
    Bearer,
    /// `Authorization: DPoP` (RFC 9449 §7.1).
    Dpop,
}

/// Split an `Authorization` header into how the token is presented and the token.
///
/// # Errors
///
/// [`VerifyError::TokenMissing`] without a header, with another scheme or without credentials;
/// [`VerifyError::RequestInvalid`] when the value could be two credentials: a comma, or white space
/// inside. (Headers sent twice arrive joined by a comma.)
///
/// Source: [RFC 6750 §2.1](https://www.rfc-editor.org/rfc/rfc6750#section-2.1); the scheme is
/// case-insensitive (RFC 9110 §11.1).
pub fn from_authorization(value: Option<&str>) -> Result<(Presentation, &str), VerifyError> {
    let value = value.map(str::trim).unwrap_or_default();
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    let presentation = if scheme.eq_ignore_ascii_case("bearer") {
        Presentation::Bearer
    } else if scheme.eq_ignore_ascii_case("dpop") {
        Presentation::Dpop
    } else if value.contains(',') {
        return Err(VerifyError::RequestInvalid);
    } else {
        return Err(VerifyError::TokenMissing);
    };
    let token = token.trim_start_matches(' ');
    if token.contains([',', ' ', '\t']) {
        return Err(VerifyError::RequestInvalid);
    }
    if token.is_empty() {
        return Err(VerifyError::TokenMissing);
    }
    Ok((presentation, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_credential_or_none() {
        use Presentation::*;
        for (value, expected) in [
            (None, Err(VerifyError::TokenMissing)),
            (Some(""), Err(VerifyError::TokenMissing)),
            (Some("Bearer"), Err(VerifyError::TokenMissing)),
            (Some("Bearer "), Err(VerifyError::TokenMissing)),
            (Some("Basic dTpw"), Err(VerifyError::TokenMissing)),
            (Some("Basic dTpw, Bearer a.b.c"), Err(VerifyError::RequestInvalid)),
            (Some("Bearer a.b.c"), Ok((Bearer, "a.b.c"))),
            (Some("bEARER  a.b.c "), Ok((Bearer, "a.b.c"))),
            (Some("DPoP a.b.c"), Ok((Dpop, "a.b.c"))),
            (Some("Bearer a.b.c, Bearer d.e.f"), Err(VerifyError::RequestInvalid)),
            (Some("Bearer a.b.c d.e.f"), Err(VerifyError::RequestInvalid)),
            (Some("Bearera.b.c"), Err(VerifyError::TokenMissing)),
        ] {
            assert_eq!(from_authorization(value), expected, "{value:?}");
        }
    }
}

//! The presentation of a token: the parts of a request that a check depends on.

use edgepass_jose::base64url;
use fluent_uri::pct_enc::EStr;
use fluent_uri::pct_enc::encoder::Query;
use sha2::{Digest, Sha256};

use crate::error::VerifyError;

/// The scheme with which the client presents the token.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Presentation {
    /// `Authorization: Bearer` (RFC 6750 §2.1).
    #[default]
    Bearer,
    /// `Authorization: DPoP` (RFC 9449 §7.1).
    Dpop,
}

/// The parts of a request that a check depends on. A field that was sent several times is one
/// value, joined by `, ` (RFC 9110 §5.3), as hosts report it.
#[derive(Clone, Default)]
pub struct Request {
    /// The value of `Authorization`.
    pub authorization: Option<String>,
    /// The value of `DPoP`: the proof.
    pub dpop: Option<String>,
    /// The query of the URL, without `?`.
    pub query: Option<String>,
    /// Method and URL. Without them no DPoP proof can be checked, so key-bound tokens are refused.
    pub endpoint: Option<Endpoint>,
    /// The certificate with which the client authenticated in the TLS handshake, as the platform
    /// reports it. Never take it from a header.
    pub certificate: Option<CertificateThumbprint>,
}

/// The method and URL that a DPoP proof is made for.
#[derive(Clone)]
pub struct Endpoint {
    /// The HTTP method, as sent.
    pub method: String,
    /// The URL as the client sees it. Its scheme and authority come from configuration, not from
    /// `Host`.
    pub url: String,
}

/// The SHA-256 digest of a DER certificate, in the form of `x5t#S256`.
///
/// Source: [RFC 8705 §3.1](https://www.rfc-editor.org/rfc/rfc8705#section-3.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateThumbprint(String);

impl CertificateThumbprint {
    /// Computes the thumbprint of a certificate in DER.
    pub fn of_der(certificate: &[u8]) -> Self {
        Self(base64url::encode(&Sha256::digest(certificate)))
    }

    /// Reads a digest in hexadecimal, as Cloudflare reports it. `None` unless it has 64 digits.
    pub fn from_hex(digest: &str) -> Option<Self> {
        let digits = digest.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut octets = [0; 32];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.contains('+'))?;
            *octet = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(base64url::encode(&octets)))
    }

    /// Returns the value of `x5t#S256`, in base64url.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The sender of a token, as a request shows it.
#[derive(Clone, Default)]
pub struct Sender {
    /// The scheme with which the token is presented.
    pub presented_as: Presentation,
    /// The DPoP proof, if the request has one.
    pub proof: Option<String>,
    /// See [`Request::endpoint`].
    pub endpoint: Option<Endpoint>,
    /// See [`Request::certificate`].
    pub certificate: Option<CertificateThumbprint>,
}

impl Request {
    /// Splits the request into the token and its sender.
    ///
    /// # Errors
    ///
    /// [`VerifyError::TokenMissing`] without credentials. [`VerifyError::RequestInvalid`] with two:
    /// a comma or white space inside `Authorization`, or also `access_token` in the query.
    ///
    /// Source: [RFC 6750 §2](https://www.rfc-editor.org/rfc/rfc6750#section-2): clients MUST NOT
    /// use more than one method. A token in the query is not read.
    pub(crate) fn into_parts(self) -> Result<(String, Sender), VerifyError> {
        let (presented_as, token) = from_authorization(self.authorization.as_deref())?;
        if self.query.as_deref().is_some_and(has_access_token) {
            return Err(VerifyError::RequestInvalid);
        }
        let token = token.to_owned();
        let Self { dpop: proof, endpoint, certificate, .. } = self;
        Ok((token, Sender { presented_as, proof, endpoint, certificate }))
    }
}

/// Splits an `Authorization` header into scheme and token. The scheme is case-insensitive (RFC 9110
/// §11.1).
fn from_authorization(value: Option<&str>) -> Result<(Presentation, &str), VerifyError> {
    let value = value.map(|text| text.trim_matches([' ', '\t'])).unwrap_or_default();
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    let presentation = if scheme.eq_ignore_ascii_case("bearer") {
        Presentation::Bearer
    } else if scheme.eq_ignore_ascii_case("dpop") {
        Presentation::Dpop
    } else if value.split(',').skip(1).any(names_our_scheme) {
        return Err(VerifyError::RequestInvalid);
    } else {
        return Err(VerifyError::TokenMissing);
    };
    let token = token.trim_start_matches(' ');
    // By octets: decoding a long token into characters would take longer than its verdict.
    if token.bytes().any(|octet| matches!(octet, b',' | b' ' | b'\t')) {
        return Err(VerifyError::RequestInvalid);
    }
    if token.is_empty() {
        return Err(VerifyError::TokenMissing);
    }
    Ok((presentation, token))
}

/// Whether one of several credentials in a field has a scheme that this crate reads.
fn names_our_scheme(credentials: &str) -> bool {
    let scheme = credentials.trim().split(' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("dpop")
}

/// Whether a query has the parameter `access_token` (RFC 6750 §2.3), percent-encoded or not.
fn has_access_token(query: &str) -> bool {
    query.split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        let decoded = EStr::<Query>::new(name).map(|name| name.decode().to_string_lossy());
        decoded.as_deref().unwrap_or(name) == "access_token"
    })
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
            (Some("Digest a=\"b\", c=\"d\""), Err(VerifyError::TokenMissing)),
            (Some("Bearer a.b.c\n"), Ok((Bearer, "a.b.c\n"))),
            (Some("Bearer a.b.c"), Ok((Bearer, "a.b.c"))),
            (Some("bEARER  a.b.c "), Ok((Bearer, "a.b.c"))),
            (Some("DPoP a.b.c"), Ok((Dpop, "a.b.c"))),
            (Some("Bearer a.b.c, Bearer d.e.f"), Err(VerifyError::RequestInvalid)),
            (Some("Bearer a.b.c, DPoP a.b.c"), Err(VerifyError::RequestInvalid)),
            (Some("Bearer a.b.c d.e.f"), Err(VerifyError::RequestInvalid)),
            (Some("Bearera.b.c"), Err(VerifyError::TokenMissing)),
        ] {
            assert_eq!(from_authorization(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_second_token_in_the_query_is_refused() {
        let with = |query: &str| {
            let authorization = Some("Bearer a.b.c".into());
            let query = Some(query.into());
            Request { authorization, query, ..Request::default() }.into_parts().err()
        };
        for query in ["x=1&access_token=t", "access_token", "%61ccess_token=t", "access%5Ftoken="] {
            assert_eq!(with(query), Some(VerifyError::RequestInvalid), "{query}");
        }
        for query in ["", "x=access_token", "access_token2=1", "%zz=1", "é=1"] {
            assert_eq!(with(query), None, "{query}");
        }
    }

    #[test]
    fn a_certificate_has_one_thumbprint_however_it_is_reported() {
        let der = CertificateThumbprint::of_der(b"certificate");
        let hex = "03d66dd08835c1ca3f128cceacd1f31ac94163096b20f445ae84285bc0832d72";
        assert_eq!(CertificateThumbprint::from_hex(hex), Some(der.clone()));
        assert_eq!(CertificateThumbprint::from_hex(&hex.to_ascii_uppercase()), Some(der));
        for wrong in ["", "zz", &hex[1..], &format!("+{}", &hex[1..]), &"ä".repeat(32)] {
            assert_eq!(CertificateThumbprint::from_hex(wrong), None, "{wrong}");
        }
    }
}

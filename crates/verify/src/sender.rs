//! The presentation of a token: the parts of a request that a check depends on.

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edgepass_jose::base64url;
use fluent_uri::pct_enc::EStr;
use fluent_uri::pct_enc::encoder::Query;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::VerifyError;
use crate::token_place::{self, TokenPlace};

/// The scheme with which the client presents the token.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Presentation {
    /// `Authorization: Bearer` (RFC 6750 §2.1).
    #[default]
    Bearer,
    /// `Authorization: DPoP` (RFC 9449 §7.1).
    Dpop,
}

/// The parts of a request that a check depends on. The values of a field that was sent several
/// times are joined by `, ` (RFC 9110 §5.3).
#[derive(Clone, Default)]
pub struct Request {
    /// The value of `Authorization`.
    pub authorization: Option<String>,
    /// The value of `DPoP`: the proof.
    pub dpop: Option<String>,
    /// The query of the URL, without `?`. Read only for a token that may be there.
    pub query: Option<String>,
    /// The HTTP method, as sent. Read only for a token in a cookie.
    pub method: String,
    /// Other header fields, with names in lower case, that a place of the token needs: see
    /// [`TokenPlace`].
    pub fields: Vec<(String, String)>,
    /// The method and URL. Without them no DPoP proof can be checked, so a token with `cnf.jkt` is
    /// refused.
    pub endpoint: Option<Endpoint>,
    /// The thumbprint of the certificate with which the client authenticated in the TLS handshake,
    /// as the platform reports it. A host must not take it from a header field.
    pub certificate: Option<CertificateThumbprint>,
    /// Where the request comes from. A host takes it from the connection or the platform, and from a
    /// header field only if a proxy of its own always sets it.
    pub network: Network,
}

/// Where a request comes from, as the platform reports it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Network {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The number of its autonomous system.
    pub asn: Option<u32>,
    /// Its country, by the two capital letters of ISO 3166-1.
    pub country: Option<[u8; 2]>,
}

/// [`Network`] in JSON. What cannot be read counts as unknown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// The client's address.
    pub address: Option<String>,
    /// The number of its autonomous system.
    pub asn: Option<u32>,
    /// Its country, by the two capital letters of ISO 3166-1.
    pub country: Option<String>,
}

impl NetworkConfig {
    /// The network.
    pub fn network(&self) -> Network {
        let country = self.country.as_ref().and_then(|country| country.as_bytes().try_into().ok());
        let address = self.address.as_ref().and_then(|address| address.parse().ok());
        Network { address, asn: self.asn, country }
    }
}

/// A request in JSON: the member `request` of a batch line, and the request that the npm package
/// passes from JavaScript to Wasm.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestConfig {
    /// The HTTP method, as sent.
    pub method: String,
    /// The URL as the client sees it; required in a batch line. Without it no DPoP proof can be
    /// checked, so a token with `cnf.jkt` is refused.
    pub url: Option<String>,
    /// The query, without `?`. Default: the query of `url`.
    pub query: Option<String>,
    /// The name and value of each header field. `Authorization` and `DPoP` are read, and the fields
    /// that a place of the token needs. Names are case-insensitive, and the values of a repeated
    /// field are joined.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The client's certificate in DER, encoded in base64 with padding.
    pub certificate: Option<String>,
    /// Instead of `certificate`: its SHA-256 digest, in 64 hexadecimal digits.
    pub certificate_sha256: Option<String>,
    /// Where the request comes from.
    #[serde(default)]
    pub client: NetworkConfig,
}

/// The reason why a [`RequestConfig`] is refused.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// `certificate` is not base64.
    #[error("expected certificate in base64 of DER")]
    Certificate,
    /// `certificate_sha256` is not 64 hexadecimal digits, or `certificate` is present too.
    #[error("expected certificate_sha256 in 64 hexadecimal digits, without certificate")]
    CertificateSha256,
}

impl TryFrom<RequestConfig> for Request {
    type Error = RequestError;

    fn try_from(config: RequestConfig) -> Result<Self, RequestError> {
        let field = |name: &str| {
            let fields = config.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
            let values: Vec<&str> = fields.map(|(_, value)| value.as_str()).collect();
            // RFC 9110 §5.3: a repeated field means the same as one with all values.
            (!values.is_empty()).then(|| values.join(", "))
        };
        let certificate = match (&config.certificate, &config.certificate_sha256) {
            (None, None) => None,
            (Some(der), None) => {
                let der = STANDARD.decode(der).map_err(|_| RequestError::Certificate)?;
                Some(CertificateThumbprint::of_der(&der))
            }
            (None, Some(digest)) => {
                let thumbprint = CertificateThumbprint::from_hex(digest);
                Some(thumbprint.ok_or(RequestError::CertificateSha256)?)
            }
            (Some(_), Some(_)) => return Err(RequestError::CertificateSha256),
        };
        let (authorization, dpop) = (field("authorization"), field("dpop"));
        let query = config.query.or_else(|| query(config.url.as_deref()?).map(str::to_owned));
        let mut fields: Vec<(String, String)> = Vec::new();
        for (name, value) in config.headers {
            let name = name.to_ascii_lowercase();
            match fields.iter_mut().find(|(own, _)| *own == name) {
                // RFC 6265 §5.4: several cookies are one field.
                Some((_, values)) => {
                    values.push_str(if name == "cookie" { "; " } else { ", " });
                    values.push_str(&value);
                }
                None => fields.push((name, value)),
            }
        }
        Ok(Self {
            authorization,
            dpop,
            query,
            method: config.method.clone(),
            fields,
            endpoint: config.url.map(|url| Endpoint { method: config.method, url }),
            certificate,
            network: config.client.network(),
        })
    }
}

/// The query of a URL, without `?` and fragment. `None` if the URL has none.
fn query(url: &str) -> Option<&str> {
    Some(url.split('#').next()?.split_once('?')?.1)
}

/// The method and URL of a request. Its DPoP proof must name them in `htm` and `htu`.
#[derive(Clone)]
pub struct Endpoint {
    /// The HTTP method, as sent.
    pub method: String,
    /// The URL as the client sees it. A host should take scheme and authority from its
    /// configuration, not from the field `Host`.
    pub url: String,
}

/// The SHA-256 digest of a DER certificate, in the form of `x5t#S256`.
///
/// Source: [RFC 8705 §3.1](https://www.rfc-editor.org/rfc/rfc8705#section-3.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateThumbprint(String);

impl CertificateThumbprint {
    /// Computes the thumbprint of a certificate in DER. Does not parse the certificate.
    pub fn of_der(certificate: &[u8]) -> Self {
        Self(base64url::encode(&Sha256::digest(certificate)))
    }

    /// Reads a digest in hexadecimal, as Cloudflare reports it. Returns `None` unless `digest` is
    /// 64 hexadecimal digits.
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

/// The parts of a request with which the claim `cnf` of its token is compared.
#[derive(Clone, Default)]
pub struct Sender {
    /// The scheme in `Authorization`.
    pub presented_as: Presentation,
    /// The DPoP proof, if the request has one.
    pub proof: Option<String>,
    /// See [`Request::endpoint`].
    pub endpoint: Option<Endpoint>,
    /// See [`Request::certificate`].
    pub certificate: Option<CertificateThumbprint>,
    /// See [`Request::network`].
    pub network: Network,
}

impl Request {
    /// Splits the request into its sender and the token, which is in one of these places.
    ///
    /// # Errors
    ///
    /// [`VerifyError::TokenMissing`] if no place holds a token. [`VerifyError::RequestInvalid`] if
    /// several do, or one holds several tokens or further text.
    /// [`VerifyError::CrossSiteRequest`] for a cookie that a page of another origin may have made
    /// the browser send.
    ///
    /// Source: [RFC 6750 §2](https://www.rfc-editor.org/rfc/rfc6750#section-2): clients MUST NOT
    /// use more than one method. A place that is not named is not read: its content is the origin's
    /// own.
    pub(crate) fn into_parts(self, places: &[TokenPlace]) -> Result<(String, Sender), VerifyError> {
        let (presented_as, token) = match places {
            [TokenPlace::Authorization] => {
                let (scheme, token) = from_authorization(self.authorization.as_deref())?;
                (scheme, token.to_owned())
            }
            places => token_place::find(places, &self)?,
        };
        let Self { dpop: proof, endpoint, certificate, network, .. } = self;
        Ok((token, Sender { presented_as, proof, endpoint, certificate, network }))
    }
}

/// Splits the value of `Authorization` into scheme and token. The scheme is case-insensitive (RFC
/// 9110 §11.1).
pub(crate) fn from_authorization(value: Option<&str>) -> Result<(Presentation, &str), VerifyError> {
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
    // Octets, not characters: decoding a long token would take longer than the rest of the check.
    if token.bytes().any(|octet| matches!(octet, b',' | b' ' | b'\t')) {
        return Err(VerifyError::RequestInvalid);
    }
    if token.is_empty() {
        return Err(VerifyError::TokenMissing);
    }
    Ok((presentation, token))
}

/// Whether `credentials`, one of several in a field, have the scheme Bearer or DPoP.
fn names_our_scheme(credentials: &str) -> bool {
    let scheme = credentials.trim().split(' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("dpop")
}

/// A parameter of a query, as it is written.
pub(crate) struct Parameter<'q> {
    pub(crate) text: &'q str,
    name: &'q str,
    pub(crate) value: &'q str,
}

/// The parameters of a query, without `?`.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = Parameter<'_>> {
    query.split('&').map(|text| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        Parameter { text, name, value }
    })
}

impl<'q> Parameter<'q> {
    /// The value, decoded if it has escapes.
    pub(crate) fn decoded(&self) -> Cow<'q, str> {
        match EStr::<Query>::new(self.value) {
            Some(value) if self.value.contains('%') => value.decode().to_string_lossy(),
            _ => self.value.into(),
        }
    }

    /// Whether the parameter has this name, which may be percent-encoded.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        let decoded = EStr::<Query>::new(self.name).map(|name| name.decode().to_string_lossy());
        decoded.as_deref().unwrap_or(self.name) == name
    }
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

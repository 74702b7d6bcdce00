//! HTTP responses for refusals: RFC 6750 challenge, RFC 9457 body.

use crate::VerifyError;
use crate::sender::Presentation;
use crate::url;
use crate::verdict::Challenge;
use serde_json::json;

/// HTTP response to a refused request. It contains no text that the client sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// HTTP status code.
    pub status: u16,
    /// Stable name of the refusal, such as `token_expired`.
    pub code: &'static str,
    /// Value of `WWW-Authenticate`. `None` with status 503, and for a [`Refusal::plain`].
    pub challenge: Option<String>,
    /// Value of `DPoP-Nonce`, with the code `dpop_nonce_required` only.
    pub dpop_nonce: Option<String>,
    /// Value of `Retry-After`: 1 second with status 503, else `None` unless the guard sets it.
    pub retry_after: Option<u32>,
    /// The `application/problem+json` body.
    pub body: String,
}

/// `realm` of the challenges: a fixed name, not the request's URL.
const REALM: &str = "edgepass";

impl Refusal {
    /// Creates the response for the error of a verdict: 503 without a challenge if documents or the
    /// store of used proofs are unavailable, else 400, 401 or 403 with one.
    ///
    /// Source: [RFC 6750 §3](https://www.rfc-editor.org/rfc/rfc6750#section-3),
    /// [RFC 9449 §7.1](https://www.rfc-editor.org/rfc/rfc9449#section-7.1).
    pub fn of(error: &VerifyError, challenge: &Challenge) -> Self {
        Self::with_detail(error, challenge, &error.to_string())
    }

    /// As [`Refusal::of`], with a `detail` that says more than the error. It must not repeat text
    /// that the client sent.
    pub fn with_detail(error: &VerifyError, challenge: &Challenge, detail: &str) -> Self {
        let status = match error {
            VerifyError::RequestInvalid => 400,
            VerifyError::ScopeInsufficient(_)
            | VerifyError::PurposeNotAllowed(_)
            | VerifyError::CrossSiteRequest
            | VerifyError::NetworkNotAllowed => 403,
            error if error.is_unavailable() => 503,
            _ => 401,
        };
        let nonce = challenge.dpop_nonce.clone();
        Self {
            challenge: (status != 503).then(|| challenges(error, challenge)),
            dpop_nonce: nonce.filter(|_| *error == VerifyError::DpopNonceRequired),
            ..Self::plain(status, error.code(), detail)
        }
    }

    /// Creates a response without a challenge. `detail` must be a fixed text.
    ///
    /// Source: [RFC 9457 §3](https://www.rfc-editor.org/rfc/rfc9457#section-3): with the type
    /// `about:blank` the title is that of the HTTP status.
    pub fn plain(status: u16, code: &'static str, detail: &str) -> Self {
        let body = json!({
            "type": "about:blank",
            "title": title(status),
            "status": status,
            "code": code,
            "detail": detail,
        });
        let retry_after = (status == 503).then_some(1);
        Self {
            status,
            code,
            challenge: None,
            dpop_nonce: None,
            retry_after,
            body: body.to_string(),
        }
    }

    /// Header fields of the response, with lower-case names: `Content-Type`, `Cache-Control` and
    /// those of the fields above.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("content-type", "application/problem+json".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ];
        if let Some(challenge) = &self.challenge {
            headers.push(("www-authenticate", challenge.clone()));
        }
        if let Some(nonce) = &self.dpop_nonce {
            headers.push(("dpop-nonce", nonce.clone()));
        }
        if let Some(seconds) = self.retry_after {
            headers.push(("retry-after", seconds.to_string()));
        }
        headers
    }
}

/// Value of `WWW-Authenticate`. It needs no escaping: error texts are fixed; names of claims and
/// algorithms and scope tokens contain neither quotes nor control characters, and a URL of the
/// metadata that does is left out. `scope` names all that the request needs, not only what the
/// token lacks, so that a
/// client can obtain it at once.
fn challenges(error: &VerifyError, challenge: &Challenge) -> String {
    let algorithms = challenge.dpop_algorithms.as_deref();
    let dpop = algorithms.map(|names| format!("DPoP realm=\"{REALM}\", algs=\"{names}\""));
    let mut parameters = String::new();
    // RFC 6750 §3.1: no error code for a request without credentials.
    let is_missing = *error == VerifyError::TokenMissing;
    if let Some(name) = name(error) {
        parameters = format!(", error=\"{name}\", error_description=\"{error}\"");
    }
    let scope = challenge.scope.to_string();
    // No wider scope helps a token whose agreement does not allow the use.
    let helps = !matches!(error, VerifyError::PurposeNotAllowed(_));
    if helps && !scope.is_empty() {
        parameters.extend([", scope=\"", &scope, "\""]);
    }
    let is_url = |url: &&String| url::is_acceptable(url) && !url.contains('"');
    if let Some(url) = challenge.resource_metadata.as_ref().filter(is_url) {
        parameters.extend([", resource_metadata=\"", url, "\""]);
    }
    let bearer = format!("Bearer realm=\"{REALM}\"{parameters}");
    match (challenge.presented_as, dpop) {
        // Without credentials both schemes are offered.
        (_, Some(dpop)) if is_missing => format!("{bearer}, {dpop}{parameters}"),
        (Presentation::Dpop, Some(dpop)) => format!("{dpop}{parameters}"),
        // RFC 9449 §7.2: if a key-bound token is sent as Bearer, the DPoP challenge is added.
        (Presentation::Bearer, Some(dpop)) if *error == VerifyError::BindingMismatch => {
            format!("{bearer}, {dpop}")
        }
        (Presentation::Dpop, None) | (Presentation::Bearer, _) => bearer,
    }
}

/// Value of the parameter `error` (RFC 6750 §3.1, RFC 9449 §7.1 and §9). None is registered for a
/// page of another site, which the status 403 refuses whatever its token is.
fn name(error: &VerifyError) -> Option<&'static str> {
    Some(match error {
        VerifyError::TokenMissing
        | VerifyError::CrossSiteRequest
        | VerifyError::NetworkNotAllowed => return None,
        VerifyError::RequestInvalid => "invalid_request",
        VerifyError::ScopeInsufficient(_) | VerifyError::PurposeNotAllowed(_) => {
            "insufficient_scope"
        }
        VerifyError::DpopProofMissing | VerifyError::DpopProofInvalid => "invalid_dpop_proof",
        VerifyError::DpopNonceRequired => "use_dpop_nonce",
        _ => "invalid_token",
    })
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        429 => "Too Many Requests",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepass_jose::Scope;

    #[test]
    fn a_challenge_names_the_metadata_and_all_that_is_needed() {
        let challenge = Challenge {
            scope: ["a:read", "a:write", "Invoice Reader"].into_iter().collect(),
            resource_metadata: Some(
                "https://api.example/.well-known/oauth-protected-resource".into(),
            ),
            ..Challenge::default()
        };
        let lacking = VerifyError::ScopeInsufficient(Scope::parse("a:write").unwrap());
        for error in [VerifyError::TokenMissing, VerifyError::TokenExpired, lacking] {
            let text = Refusal::of(&error, &challenge).challenge.unwrap();
            let ends = ", scope=\"a:read a:write\", resource_metadata=\"https://api.example/.well-known/\
                        oauth-protected-resource\"";
            assert!(text.ends_with(ends), "{text}");
        }
    }

    #[test]
    fn each_error_has_the_status_and_challenge_of_rfc_6750() {
        let missing = Scope::parse("a:write b:write").unwrap();
        for (error, status, part) in [
            (VerifyError::TokenMissing, 401, Some("Bearer realm=\"edgepass\"")),
            (VerifyError::RequestInvalid, 400, Some("error=\"invalid_request\"")),
            (VerifyError::TokenRevoked, 401, Some("error=\"invalid_token\"")),
            (VerifyError::ScopeInsufficient(missing), 403, Some("error=\"insufficient_scope\"")),
            (VerifyError::CrossSiteRequest, 403, Some("Bearer realm=\"edgepass\"")),
            (VerifyError::NetworkNotAllowed, 403, Some("Bearer realm=\"edgepass\"")),
            (VerifyError::StatusUnavailable, 503, None),
        ] {
            let refusal = Refusal::of(&error, &Challenge::default());
            assert_eq!(refusal.status, status);
            assert_eq!(refusal.challenge.is_some(), part.is_some());
            let challenge = refusal.challenge.clone().unwrap_or_default();
            assert!(challenge.contains(part.unwrap_or_default()), "{challenge}");
            assert_eq!(refusal.retry_after.is_some(), status == 503);
            let body: serde_json::Value = serde_json::from_str(&refusal.body).unwrap();
            assert_eq!(body["code"], error.code());
            assert_eq!(body["status"], status);
        }
        let bare = Refusal::of(&VerifyError::TokenMissing, &Challenge::default());
        let bare = bare.challenge.unwrap();
        assert!(!bare.contains("error"));
    }

    #[test]
    fn proofs_are_asked_for_as_rfc_9449_says() {
        use Presentation::*;
        let challenge = |presented_as| Challenge {
            presented_as,
            dpop_algorithms: Some("ES256 EdDSA".into()),
            dpop_nonce: Some("n".into()),
            ..Challenge::default()
        };
        let dpop = "DPoP realm=\"edgepass\", algs=\"ES256 EdDSA\"";
        for (error, presented_as, starts, has) in [
            (VerifyError::TokenMissing, Bearer, "Bearer realm=\"edgepass\", DPoP", "algs="),
            (VerifyError::DpopProofMissing, Dpop, dpop, "error=\"invalid_dpop_proof\""),
            (VerifyError::DpopProofInvalid, Dpop, dpop, "error=\"invalid_dpop_proof\""),
            (VerifyError::DpopNonceRequired, Dpop, dpop, "error=\"use_dpop_nonce\""),
            (VerifyError::TokenExpired, Dpop, dpop, "error=\"invalid_token\""),
            (VerifyError::TokenExpired, Bearer, "Bearer", "error=\"invalid_token\""),
            (VerifyError::BindingMismatch, Bearer, "Bearer", dpop),
        ] {
            let refusal = Refusal::of(&error, &challenge(presented_as));
            let text = refusal.challenge.unwrap();
            assert!(text.starts_with(starts) && text.contains(has), "{error:?}: {text}");
            assert!(!text.is_empty() && refusal.status == 401);
            assert_eq!(refusal.dpop_nonce.is_some(), error == VerifyError::DpopNonceRequired);
        }
        let without = Challenge { dpop_algorithms: None, ..challenge(Bearer) };
        let text = Refusal::of(&VerifyError::TokenMissing, &without).challenge.unwrap();
        assert!(!text.contains("DPoP"));
    }
}

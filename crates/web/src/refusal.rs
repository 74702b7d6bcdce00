//! A refusal as HTTP: RFC 6750 challenge, RFC 9457 body.

use edgepass_verify::VerifyError;
use serde_json::json;

/// A response that refuses a request, as data. Its text is fixed: nothing a caller sent is in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: &'static str,
    /// `WWW-Authenticate`.
    pub challenge: Option<String>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
    /// The `application/problem+json` body.
    pub body: String,
}

/// `realm` of the challenges. A name, not the request's URL.
const REALM: &str = "edgepass";

impl Refusal {
    /// The response for a verdict's error.
    ///
    /// Source: [RFC 6750 §3](https://www.rfc-editor.org/rfc/rfc6750#section-3).
    pub fn of(error: &VerifyError) -> Self {
        let detail = error.to_string();
        let (status, challenge) = match error {
            // RFC 6750 §3.1: without credentials, no error code.
            VerifyError::TokenMissing => (401, Some(format!("Bearer realm=\"{REALM}\""))),
            VerifyError::RequestInvalid => (400, Some(challenge("invalid_request", &detail))),
            VerifyError::ScopeInsufficient(missing) => {
                let text = challenge("insufficient_scope", &detail);
                (403, Some(format!("{text}, scope=\"{missing}\"")))
            }
            VerifyError::KeysUnavailable | VerifyError::StatusUnavailable => (503, None),
            _ => (401, Some(challenge("invalid_token", &detail))),
        };
        Self { challenge, ..Self::plain(status, error.code(), &detail) }
    }

    /// A response without a challenge. `detail` is a fixed text.
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
        Self { status, code, challenge: None, retry_after, body: body.to_string() }
    }

    /// Header fields, `Content-Type` included.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("content-type", "application/problem+json".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ];
        if let Some(challenge) = &self.challenge {
            headers.push(("www-authenticate", challenge.clone()));
        }
        if let Some(seconds) = self.retry_after {
            headers.push(("retry-after", seconds.to_string()));
        }
        headers
    }
}

fn challenge(error: &str, description: &str) -> String {
    format!("Bearer realm=\"{REALM}\", error=\"{error}\", error_description=\"{description}\"")
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
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
    fn each_error_has_the_status_and_challenge_of_rfc_6750() {
        let missing = Scope::parse("a:write b:write").unwrap();
        for (error, status, part) in [
            (VerifyError::TokenMissing, 401, Some("Bearer realm=\"edgepass\"")),
            (VerifyError::RequestInvalid, 400, Some("error=\"invalid_request\"")),
            (VerifyError::TokenRevoked, 401, Some("error=\"invalid_token\"")),
            (VerifyError::ScopeInsufficient(missing), 403, Some("scope=\"a:write b:write\"")),
            (VerifyError::StatusUnavailable, 503, None),
        ] {
            let refusal = Refusal::of(&error);
            assert_eq!(refusal.status, status);
            assert_eq!(refusal.challenge.is_some(), part.is_some());
            let challenge = refusal.challenge.clone().unwrap_or_default();
            assert!(challenge.contains(part.unwrap_or_default()), "{challenge}");
            assert_eq!(refusal.retry_after.is_some(), status == 503);
            let body: serde_json::Value = serde_json::from_str(&refusal.body).unwrap();
            assert_eq!(body["code"], error.code());
            assert_eq!(body["status"], status);
        }
        let bare = Refusal::of(&VerifyError::TokenMissing).challenge.unwrap();
        assert!(!bare.contains("error"));
    }
}

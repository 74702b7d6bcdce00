//! Error responses in the format of OAuth.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::client::assertion::AssertionError;
use serde_json::json;

/// An error response of the OAuth endpoints or of `/status-acts`.
///
/// Source: [RFC 6749 §5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2),
/// [RFC 7009 §2.2.1](https://www.rfc-editor.org/rfc/rfc7009#section-2.2.1).
#[derive(Debug)]
pub(crate) enum OauthError {
    /// The request is malformed, or cannot be carried out as it is, such as an act on an unknown
    /// role. Holds the value of `error_description`.
    InvalidRequest(&'static str),
    /// The client is unknown, or its credentials are missing, malformed or wrong. Holds the value of
    /// `error_description`.
    InvalidClient(&'static str),
    /// The client's assertion does not authenticate it.
    InvalidClientAssertion(AssertionError),
    /// The client may not use that role, perform that act or revoke that token.
    UnauthorizedClient(&'static str),
    /// The grant type is not supported.
    UnsupportedGrantType,
    /// The authorization endpoint was asked: no response type is supported.
    UnsupportedResponseType,
    /// The scope is malformed, or exceeds the role's. In the second case the text names the role's.
    InvalidScope(String),
    /// The audience is not the role's, or there are several. The text names the role's.
    InvalidTarget(String),
    /// The DPoP proof is missing, repeated or not valid (RFC 9449 §5).
    InvalidDpopProof(&'static str),
    /// The DPoP proof needs this nonce (RFC 9449 §8).
    UseDpopNonce(String),
    /// An outside token is refused (RFC 8693 §2.2.2). Holds the verifier's code.
    SubjectTokenRefused(&'static str),
    /// `authorization_details` (RFC 9396) were sent. No type of them is supported.
    InvalidAuthorizationDetails,
    /// Too many requests of the client or the address. Holds the seconds to wait.
    TooMany(u64),
    /// The token of a request to `/admin/v1` is missing or not valid (RFC 6750 §3.1).
    InvalidToken(&'static str),
    /// There is no token in the request (RFC 6750 §3.1: without a code in the challenge).
    TokenMissing,
    /// That token lacks this scope.
    InsufficientScope(&'static str),
    /// A request for access is not made or changed. The text says why.
    AccessRefused(String),
    /// An incident is not opened or changed. The text says why, and repeats nothing of the request.
    IncidentRefused(String),
    /// The role needs approval (RFC 6749 §4.1.2.1 has the code). Holds what is lacking, where to look, and
    /// a text that says more.
    AccessDenied(AccessNeed, String, Option<String>),
    /// Storage or publication is not available now, or an act blocks issuing such tokens.
    Unavailable(&'static str),
}

/// What is lacking for a token of a role that needs approval.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AccessNeed {
    /// Access was not asked for.
    Required,
    /// Access was asked for and is not granted yet.
    Pending,
    /// What was approved is less than what is asked for.
    Beyond,
    /// Access was denied lately.
    Denied,
    /// The role or its rule has changed since access was granted.
    Changed,
    /// The rule refuses to be asked like this.
    Refused,
}

impl AccessNeed {
    /// The value of the member `access_error`.
    fn code(self) -> &'static str {
        match self {
            Self::Required => "approval_required",
            Self::Pending => "approval_pending",
            Self::Beyond => "beyond_approval",
            Self::Denied => "approval_denied",
            Self::Changed => "approval_outdated",
            Self::Refused => "request_refused",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Required => {
                "the role needs approval: send access_reason, access_ticket and access_for, or ask at access_request_uri"
            }
            Self::Pending => "access was asked for and is not granted yet: try again later",
            Self::Beyond => "scope or resource go beyond what was approved: leave them out",
            Self::Denied => {
                "access was denied: ask again once the request has expired, an hour after it"
            }
            Self::Changed => "the role or its rule has changed since access was granted: ask again",
            Self::Refused => "the rule about this role refuses the request",
        }
    }
}

impl OauthError {
    /// Whether the client did not prove who it is.
    pub(crate) fn is_failed_authentication(&self) -> bool {
        matches!(self, Self::InvalidClient(_) | Self::InvalidClientAssertion(_))
    }

    /// The value of the member `error`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) | Self::SubjectTokenRefused(_) | Self::IncidentRefused(_) => {
                "invalid_request"
            }
            Self::AccessRefused(_) | Self::AccessDenied(..) => "access_denied",
            Self::InvalidClient(_) | Self::InvalidClientAssertion(_) => "invalid_client",
            Self::InvalidTarget(_) => "invalid_target",
            Self::InvalidAuthorizationDetails => "invalid_authorization_details",
            Self::InvalidDpopProof(_) => "invalid_dpop_proof",
            Self::UseDpopNonce(_) => "use_dpop_nonce",
            Self::UnauthorizedClient(_) => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope(_) => "invalid_scope",
            Self::InvalidToken(_) | Self::TokenMissing => "invalid_token",
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::Unavailable(_) | Self::TooMany(_) => "temporarily_unavailable",
        }
    }
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let code = self.code();
        let wait = if let Self::TooMany(seconds) = &self { *seconds } else { 1 };
        let nonce = match &self {
            Self::UseDpopNonce(nonce) => HeaderValue::from_str(nonce).ok(),
            _ => None,
        };
        let challenge = match &self {
            Self::InvalidClient(_) | Self::InvalidClientAssertion(_) => {
                Some(HeaderValue::from_static("Basic realm=\"edgepass\""))
            }
            Self::InvalidToken(_) => {
                Some(HeaderValue::from_static("Bearer realm=\"edgepass\", error=\"invalid_token\""))
            }
            Self::TokenMissing => Some(HeaderValue::from_static("Bearer realm=\"edgepass\"")),
            Self::InsufficientScope(scope) => HeaderValue::from_str(&format!(
                "Bearer realm=\"edgepass\", error=\"insufficient_scope\", scope=\"{scope}\""
            ))
            .ok(),
            _ => None,
        };
        let need = match &self {
            Self::AccessDenied(need, url, _) => Some((need.code(), url.clone())),
            _ => None,
        };
        let (status, description) = match self {
            Self::InvalidRequest(text) | Self::UnauthorizedClient(text) => {
                (StatusCode::BAD_REQUEST, text.to_owned())
            }
            Self::InvalidClient(text) | Self::InvalidToken(text) => {
                (StatusCode::UNAUTHORIZED, text.to_owned())
            }
            Self::TokenMissing => {
                (StatusCode::UNAUTHORIZED, "send Authorization: Bearer with a token".to_owned())
            }
            Self::InsufficientScope(scope) => {
                (StatusCode::FORBIDDEN, format!("the token lacks the scope {scope}"))
            }
            Self::InvalidClientAssertion(error) => (StatusCode::UNAUTHORIZED, error.to_string()),
            Self::InvalidDpopProof(text) => (StatusCode::BAD_REQUEST, text.to_owned()),
            Self::UseDpopNonce(_) => {
                (StatusCode::BAD_REQUEST, "put the nonce of DPoP-Nonce into the proof".to_owned())
            }
            Self::SubjectTokenRefused(code) => {
                (StatusCode::BAD_REQUEST, format!("subject_token is refused: {code}"))
            }
            Self::InvalidAuthorizationDetails => (
                StatusCode::BAD_REQUEST,
                "no type of authorization_details is supported; use scope and resource".to_owned(),
            ),
            Self::UnsupportedGrantType => (
                StatusCode::BAD_REQUEST,
                "grant_type must be client_credentials, or that of token exchange".to_owned(),
            ),
            Self::UnsupportedResponseType => (
                StatusCode::BAD_REQUEST,
                "no user authorizes here; use grant_type client_credentials at the token endpoint"
                    .into(),
            ),
            Self::InvalidScope(text) | Self::InvalidTarget(text) | Self::IncidentRefused(text) => {
                (StatusCode::BAD_REQUEST, text)
            }
            Self::AccessRefused(text) => (StatusCode::FORBIDDEN, text),
            Self::AccessDenied(need, _, text) => {
                (StatusCode::BAD_REQUEST, text.unwrap_or_else(|| need.description().to_owned()))
            }
            Self::TooMany(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests: wait as Retry-After says".to_owned(),
            ),
            Self::Unavailable(text) => (StatusCode::SERVICE_UNAVAILABLE, text.to_owned()),
        };
        // RFC 6749 §5.2: neither quotation marks nor backslashes.
        let description = description.replace(['"', '\\'], "'");
        let mut body = json!({ "error": code, "error_description": description });
        if let (Some((need, url)), Some(members)) = (need, body.as_object_mut()) {
            members.insert("access_error".to_owned(), need.into());
            members.insert("access_request_uri".to_owned(), url.into());
        }
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(nonce) = nonce {
            headers.insert("dpop-nonce", nonce);
        }
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        let is_temporary =
            [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&status);
        if is_temporary {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        // Who asks on without waiting pays for another connection.
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

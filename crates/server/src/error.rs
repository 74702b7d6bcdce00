//! Refusals as OAuth clients read them.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An error response of the token or revocation endpoint.
///
/// Source: [RFC 6749 §5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2),
/// [RFC 7009 §2.2.1](https://www.rfc-editor.org/rfc/rfc7009#section-2.2.1).
#[derive(Debug)]
pub(crate) enum OauthError {
    /// A parameter is missing, repeated or malformed.
    InvalidRequest(&'static str),
    /// The client did not prove who it is.
    InvalidClient,
    /// The client may not do that.
    UnauthorizedClient(&'static str),
    /// Only client_credentials is offered.
    UnsupportedGrantType,
    /// Beyond the role; says what would be allowed.
    InvalidScope(String),
    /// Storage or publication is not available now.
    Unavailable(&'static str),
}

impl OauthError {
    /// The value of `error`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::UnauthorizedClient(_) => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope(_) => "invalid_scope",
            Self::Unavailable(_) => "temporarily_unavailable",
        }
    }
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let code = self.code();
        let (status, description) = match self {
            Self::InvalidRequest(text) | Self::UnauthorizedClient(text) => {
                (StatusCode::BAD_REQUEST, text.to_owned())
            }
            Self::InvalidClient => {
                (StatusCode::UNAUTHORIZED, "unknown client or wrong client secret".to_owned())
            }
            Self::UnsupportedGrantType => {
                (StatusCode::BAD_REQUEST, "grant_type must be client_credentials".to_owned())
            }
            Self::InvalidScope(text) => (StatusCode::BAD_REQUEST, text),
            Self::Unavailable(text) => (StatusCode::SERVICE_UNAVAILABLE, text.to_owned()),
        };
        let body = Json(json!({ "error": code, "error_description": description }));
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"edgepass\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

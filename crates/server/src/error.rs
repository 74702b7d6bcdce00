//! Error responses in the format of OAuth.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An error response of `/oauth/token`, `/oauth/revoke` or `/status-acts`.
///
/// Source: [RFC 6749 §5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2),
/// [RFC 7009 §2.2.1](https://www.rfc-editor.org/rfc/rfc7009#section-2.2.1).
#[derive(Debug)]
pub(crate) enum OauthError {
    /// The request is malformed, or cannot be carried out as it is, such as an act on an unknown
    /// role. Holds the value of `error_description`.
    InvalidRequest(&'static str),
    /// The client is unknown, or its credentials are missing, malformed or wrong.
    InvalidClient,
    /// The client may not use that role, perform that act or revoke that token.
    UnauthorizedClient(&'static str),
    /// The grant type is not `client_credentials`.
    UnsupportedGrantType,
    /// The authorization endpoint was asked: no response type is supported.
    UnsupportedResponseType,
    /// The scope is malformed, or exceeds the role's. In the second case the text names the role's.
    InvalidScope(String),
    /// Storage or publication is not available now, or an act blocks issuing such tokens.
    Unavailable(&'static str),
}

impl OauthError {
    /// The value of the member `error`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::UnauthorizedClient(_) => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
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
            Self::UnsupportedResponseType => (
                StatusCode::BAD_REQUEST,
                "no user authorizes here; use grant_type client_credentials at the token endpoint"
                    .into(),
            ),
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

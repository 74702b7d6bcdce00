//! [`Token`] as an extractor of axum.

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::layer::Token;

/// The handler takes a [`Token`], but its route is not behind a [`RequireToken`](crate::RequireToken).
#[derive(Debug, thiserror::Error)]
#[error("the route is not behind RequireToken")]
pub struct NotGuarded;

impl IntoResponse for NotGuarded {
    fn into_response(self) -> Response {
        tracing::error!("a handler takes a Token, but its route is not behind RequireToken");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for Token {
    type Rejection = NotGuarded;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NotGuarded> {
        parts.extensions.get::<Self>().cloned().ok_or(NotGuarded)
    }
}

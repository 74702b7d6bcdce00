//! Binds a token to the key or the certificate of its sender.

use axum::http::HeaderMap;
use edgepass_issuer::Store;
use edgepass_issuer::policy::SenderConstraint;
use edgepass_issuer::token_facts::Confirmation;
use edgepass_verify::{UnixMillis, VerifyError};

use super::authenticate::Credentials;
use super::error::OauthError;
use super::token::Order;
use crate::App;

/// Binds the token of an order to what its request proves: to the key of a DPoP proof, or, if the
/// role demands it, to the certificate. A token keeps the binding of the one that it is exchanged
/// for; a proof must then be by the same key.
///
/// Source: [RFC 9449 §5](https://www.rfc-editor.org/rfc/rfc9449#section-5), RFC 8705 §3.
pub(super) fn bind<S: Store>(
    app: &App<S>,
    mut order: Order,
    credentials: &Credentials<'_>,
    now: UnixMillis,
) -> Result<Order, OauthError> {
    let recipient = &mut order.recipient;
    if let Some(proof) = proof(credentials.headers)? {
        let url = format!("{}/oauth/token", app.issuer.issuer());
        let proven = app.issuer.proven(proof, "POST", &url, now).map_err(|error| match error {
            VerifyError::DpopNonceRequired => {
                OauthError::UseDpopNonce(app.issuer.nonce(&url, now).unwrap_or_default())
            }
            _ => OauthError::InvalidDpopProof("the DPoP proof is not valid for this request"),
        })?;
        match &recipient.confirmation {
            None => recipient.confirmation = Some(Confirmation::Key(proven.thumbprint)),
            Some(Confirmation::Key(own)) if *own == proven.thumbprint => {}
            Some(_) => {
                return Err(OauthError::InvalidDpopProof(
                    "the exchanged token is bound to something else",
                ));
            }
        }
        recipient.once.push(proven.used);
    }
    let certificate = credentials.peer.certificate.as_ref();
    match (order.grant.sender, &recipient.confirmation) {
        (SenderConstraint::None, _)
        | (SenderConstraint::Dpop, Some(Confirmation::Key(_)))
        | (SenderConstraint::Mtls, Some(Confirmation::Certificate(_))) => Ok(order),
        (SenderConstraint::Dpop, _) => {
            Err(OauthError::InvalidDpopProof("the role needs a DPoP proof"))
        }
        (SenderConstraint::Mtls, None) => {
            let shown = certificate.ok_or(OauthError::InvalidRequest(
                "the role needs a client certificate, from a proxy of [proxy]",
            ))?;
            recipient.confirmation = Some(Confirmation::Certificate(shown.as_str().to_owned()));
            Ok(order)
        }
        (SenderConstraint::Mtls, Some(Confirmation::Key(_))) => Err(OauthError::InvalidRequest(
            "the role needs a client certificate: send no DPoP proof",
        )),
    }
}

/// The value of the field `DPoP`. Two are refused (RFC 9449 §4.3).
fn proof(headers: &HeaderMap) -> Result<Option<&str>, OauthError> {
    let wrong = OauthError::InvalidDpopProof("send one DPoP proof");
    let mut values = headers.get_all("dpop").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| wrong),
        _ => Err(wrong),
    }
}

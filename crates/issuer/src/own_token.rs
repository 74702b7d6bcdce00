//! Judges tokens of this issuer with the issuer's own verifier.

use std::sync::{Arc, PoisonError};

use edgepass_jose::{ClaimsSet, CompactJws, base64url};
use edgepass_status_list::StatusType;
use edgepass_verify::checks::networks::{self, NetworkRule};
use edgepass_verify::checks::purpose;
use edgepass_verify::documents::fetch::DocumentKind;
use edgepass_verify::native::check_signature;
use edgepass_verify::policy::OneOrMany;
use edgepass_verify::sender::{CertificateThumbprint, Network, Request};
use edgepass_verify::verifier::{KeySource, Progress, Verifier};
use edgepass_verify::{Policy, PolicyConfig, Requirements, UnixMillis, VerifyError};
use serde_json::Value;

use crate::issue::{IssueError, Issuer};
use crate::keys::Keys;
use crate::paths::LISTS;
use crate::storage::{StoreError, TokenRecord, TokenStore};

/// Most policies of the issuer's own verifier that are kept: one for each audience.
const MAX_POLICIES: usize = 1024;

/// The longest token that is read, in bytes. Verifiers accept none that is longer.
pub(crate) const MAX_BYTES: usize = 16 * 1024;

impl<S> Issuer<S> {
    /// The policy under which the issuer's own verifier judges a token of this audience. It is kept.
    pub(crate) fn own_policy(&self, audience: &str) -> Result<Arc<Policy>, IssueError> {
        if let Some(known) = self.known_own_policy(audience) {
            return Ok(known);
        }
        let policy = Arc::new(self.new_own_policy(audience)?);
        let mut known = self.own_policies.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_POLICIES {
            known.clear();
        }
        known.insert(audience.to_owned(), Arc::clone(&policy));
        Ok(policy)
    }

    fn known_own_policy(&self, audience: &str) -> Option<Arc<Policy>> {
        self.own_policies.read().unwrap_or_else(PoisonError::into_inner).get(audience).cloned()
    }

    fn new_own_policy(&self, audience: &str) -> Result<Policy, IssueError> {
        let audience = OneOrMany::One(audience.to_owned());
        let mut config = PolicyConfig::new(self.issuer().to_owned(), audience);
        config.typ = Some(Some(self.token_type().name().to_owned()));
        config.status.uri_prefixes = Some(vec![self.public_uri(LISTS)]);
        config.try_into().map_err(IssueError::OwnPolicy)
    }
}

impl<S: TokenStore> Issuer<S> {
    /// The claims and the record of a text that is a valid token of this issuer: signed by a
    /// published key, recorded, and neither expired, revoked nor suspended. What its sender must
    /// prove is not checked.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn valid_token(
        &self,
        text: &str,
        now: UnixMillis,
    ) -> Result<Option<(ClaimsSet, TokenRecord)>, StoreError> {
        let Some(found) = self.signed_token(text, now).await? else { return Ok(None) };
        let seconds = now.numeric_date().seconds();
        let is_valid = found.1.status == StatusType::Valid && found.1.facts.expiration > seconds;
        Ok(is_valid.then_some(found))
    }

    /// As [`Issuer::valid_token`], also of a token that is revoked or suspended.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn signed_token(
        &self,
        text: &str,
        now: UnixMillis,
    ) -> Result<Option<(ClaimsSet, TokenRecord)>, StoreError> {
        let Ok(jws) = CompactJws::parse(text, MAX_BYTES) else { return Ok(None) };
        let Ok(claims) = jws.claims() else { return Ok(None) };
        // Read from the record later; this only selects the policy.
        let audience = claims.required_string("aud").unwrap_or_default();
        // An audience that anybody may have written is not kept.
        let known = self.known_own_policy(audience).map(Ok);
        let policy = known.unwrap_or_else(|| self.new_own_policy(audience).map(Arc::new));
        let Ok(policy) = policy else { return Ok(None) };
        if judge(&jws, &policy, &self.keys(), now).is_err() {
            return Ok(None);
        }
        let Ok(jwt_id) = claims.required_string("jti") else { return Ok(None) };
        let record = self.store().token(jwt_id).await?;
        Ok(record.map(|record| (claims, record)))
    }
}

/// Runs the issuer's own verifier over a signed token, up to the fetch of its list. Takes the sender
/// for the one that the token is bound to. Returns the URI of the list.
pub(crate) fn judge(
    jws: &CompactJws,
    policy: &Policy,
    keys: &Keys,
    now: UnixMillis,
) -> Result<String, VerifyError> {
    const REFUSED: VerifyError = VerifyError::SignatureInvalid;
    let verifier = Verifier::new(policy.clone(), KeySource::Given(keys.own().clone()));
    let mut verifier = verifier.map_err(|_| REFUSED)?;
    // Without a request there is no proof to check, as in a repeated check.
    let mut check = verifier.begin_again(request(jws), Requirements::default());
    let mut progress = verifier.advance(&mut check, now);
    if let Progress::CheckSignature(request) = progress {
        check.signature_checked(check_signature(&request));
        progress = verifier.advance(&mut check, now);
    }
    match progress {
        // The verifier requests the list only after all earlier steps have passed.
        Progress::Fetch(order) if order.document == DocumentKind::StatusList => Ok(order.uri),
        Progress::Decided(verdict) => match verdict.outcome {
            // A token without status is none of this issuer.
            Ok(_) => Err(VerifyError::StatusInvalid),
            Err(error) => Err(error),
        },
        Progress::Fetch(_)
        | Progress::CheckSignature(_)
        | Progress::CheckReplay(_)
        | Progress::Wait(_) => Err(REFUSED),
    }
}

/// A network from which the token may be used, in a region of its agreement.
fn network(claims: Option<&ClaimsSet>) -> Network {
    let rules = claims.and_then(|claims| networks::of(claims).ok()).unwrap_or_default();
    let mut inside = rules.iter().map(NetworkRule::inside);
    let Some(regions) = claims.and_then(|claims| purpose::form(claims).ok()).flatten() else {
        return inside.next().unwrap_or_default();
    };
    let fits = |from: &Network| {
        from.country.is_none_or(|country| regions.iter().any(|region| region.has(country)))
    };
    let from = inside.find(fits).unwrap_or_default();
    let country = from.country.or_else(|| regions.first().map(|region| region.inside()));
    Network { country, ..from }
}

/// A request by the sender that the token is bound to.
fn request(jws: &CompactJws) -> Request {
    let claims = jws.claims().ok();
    let cnf = claims.as_ref().and_then(|claims| claims.get("cnf")).map(|cnf| cnf.to_value());
    let text = |name: &str| cnf.as_ref().and_then(|cnf| cnf.get(name)).and_then(Value::as_str);
    let scheme = if text("jkt").is_some() { "DPoP" } else { "Bearer" };
    let certificate = text("x5t#S256").and_then(base64url::decode_array::<32>);
    let certificate = certificate.map(|octets| octets.map(|octet| format!("{octet:02x}")).concat());
    Request {
        authorization: Some(format!("{scheme} {}", jws.text())),
        network: network(claims.as_ref()),
        certificate: certificate.and_then(|digest| CertificateThumbprint::from_hex(&digest)),
        ..Request::default()
    }
}

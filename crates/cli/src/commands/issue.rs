//! `edgepass issue`.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::NonEmptyStringValueParser;
use edgepass_issuer::issue::{IssueError, Recipient};
use edgepass_issuer::policy::{SenderConstraint, TokenRequest};
use edgepass_issuer::replacement::{DEFAULT_GRACE, replace};
use edgepass_issuer::storage::TokenStore;
use edgepass_issuer::token_facts::Confirmation;
use edgepass_jose::{Scope, base64url};
use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::sender::CertificateThumbprint;
use serde_json::json;

use super::source::Source;
use crate::exit::{Exit, Failure};
use crate::host::{self, OsEntropy};
use crate::output;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Role of the token. It sets the audience, and limits scopes and lifetime.
    #[arg(long, required_unless_present = "replace")]
    role: Option<String>,
    /// `jti` of a token to replace: the new one has its role, audience, client and subject, and at
    /// most its scopes. The old one is revoked after --grace.
    #[arg(long, value_name = "JTI", allow_hyphen_values = true)]
    #[arg(conflicts_with_all = ["role", "audience", "client", "subject"])]
    replace: Option<String>,
    /// How long the replaced token stays valid, at most 1h. Default: 1m. `serve` then revokes it.
    #[arg(long, value_parser = DurationText::parse, requires = "replace")]
    grace: Option<DurationText>,
    /// Audience of the token, one of the role's. Default: the role's first.
    #[arg(long, value_name = "URL")]
    audience: Option<String>,
    /// A scope to grant; may be repeated. Default: all scopes of the role.
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// Lifetime with a unit, such as 10m. Default: the role's `lifetime`.
    #[arg(long, value_parser = DurationText::parse)]
    ttl: Option<DurationText>,
    /// `client_id` of the token. Default: edgepass-cli.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    client: Option<String>,
    /// Thumbprint (RFC 7638) of the key that the token is bound to by DPoP.
    #[arg(long, value_name = "JKT", conflicts_with = "certificate")]
    dpop_key: Option<String>,
    /// SHA-256 of the client certificate that the token is bound to, in hexadecimal.
    #[arg(long, value_name = "SHA256")]
    certificate: Option<String>,
    /// `sub` of the token. Default: the client.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    subject: Option<String>,
}

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let config = source.load()?;
    // clap drops `requires` where the required option conflicts with a given one.
    if args.grace.is_some() && args.replace.is_none() {
        bail!("--grace goes with --replace");
    }
    let scope = match args.scopes.as_slice() {
        [] => None,
        _ => Some(Scope::try_from(args.scopes)?),
    };
    let lifetime = args.ttl.map(|ttl| ttl.0.as_secs());
    let issuer = super::open_issuer(&config, &super::policy_user()).await?;
    let policy = issuer.policy();
    let (grant, recipient) = match &args.replace {
        None => {
            let request = TokenRequest { audience: args.audience, scope, lifetime };
            let role = policy.role(args.role.as_deref().unwrap_or_default()).map_err(refused)?;
            let grant = policy.grant(role, &request, host::now()).map_err(refused)?;
            let client = args.client.unwrap_or_else(|| "edgepass-cli".to_owned());
            let subject = args.subject.unwrap_or_else(|| client.clone());
            (grant, Recipient::new(client, subject, super::actor()))
        }
        Some(jwt_id) => {
            let old = issuer.store().token(jwt_id).await?;
            let old =
                old.ok_or_else(|| refused("this issuer has issued no token with that jti"))?;
            let grace = args.grace.map_or(DEFAULT_GRACE, |grace| grace.0);
            let (grant, replaces) =
                replace(&policy, &old, scope, lifetime, grace, host::now()).map_err(refused)?;
            let recipient = Recipient::new(old.facts.client_id, old.facts.subject, super::actor());
            let confirmation = old.facts.confirmation;
            (grant, Recipient { confirmation, replaces: Some(replaces), ..recipient })
        }
    };
    let kept = recipient.confirmation.clone();
    let asked = confirmation(args.dpop_key, args.certificate.as_deref(), grant.sender, kept)?;
    let recipient = Recipient { confirmation: asked, ..recipient };
    let bound_to_key = matches!(recipient.confirmation, Some(Confirmation::Key(_)));
    let mut waited = Duration::ZERO;
    let issued = loop {
        let now = host::now();
        let granted = issuer
            .grant(&issuer.policy(), &grant, &recipient, &mut OsEntropy, now)
            .map_err(failed)?;
        match issuer.issue(granted, now).await {
            // An act on such tokens blocks issuing until shortly after its end: wait and try again.
            Err(IssueError::Blocked) if waited < RETRY_FOR => {
                tokio::time::sleep(PAUSE).await;
                waited = waited.saturating_add(PAUSE);
            }
            outcome => break outcome.map_err(failed)?,
        }
    };
    if json {
        output::json(&json!({
            "access_token": issued.token,
            "token_type": if bound_to_key { "DPoP" } else { "Bearer" },
            "expires_in": issued.lifetime,
            "scope": issued.scope,
            "jti": issued.jwt_id,
        }))?;
    } else {
        output::line(&issued.token)?;
    }
    Ok(Exit::Ok)
}

/// Longest wait while an act blocks issuing.
const RETRY_FOR: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// What the token is bound to: what is asked for, or else what the replaced token is bound to. The role
/// may demand one of the two.
fn confirmation(
    key: Option<String>,
    certificate: Option<&str>,
    demanded: SenderConstraint,
    kept: Option<Confirmation>,
) -> anyhow::Result<Option<Confirmation>> {
    if key.is_none() && certificate.is_none() && kept.is_some() {
        return Ok(kept);
    }
    let certificate = match certificate {
        None => None,
        Some(text) => Some(
            CertificateThumbprint::from_hex(&text.replace(':', ""))
                .context("--certificate takes 64 hexadecimal digits")?,
        ),
    };
    if key.as_deref().is_some_and(|key| base64url::decode_array::<32>(key).is_none()) {
        bail!("--dpop-key takes a JWK Thumbprint, 43 characters of base64url");
    }
    let needs = match (demanded, &key, &certificate) {
        (SenderConstraint::Dpop, None, _) => Some("the role needs a DPoP key: pass --dpop-key"),
        (SenderConstraint::Mtls, _, None) => {
            Some("the role needs a client certificate: pass --certificate")
        }
        _ => None,
    };
    if let Some(needs) = needs {
        return Err(anyhow::Error::new(Failure::Refused).context(needs));
    }
    let certificate = certificate.map(|own| Confirmation::Certificate(own.as_str().to_owned()));
    Ok(key.map(Confirmation::Key).or(certificate))
}

fn refused(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::Error::new(Failure::Refused).context(error.to_string())
}

fn failed(error: IssueError) -> anyhow::Error {
    let failure = match error {
        IssueError::NotAcceptable(_) | IssueError::ForeignStatus | IssueError::NotReplaced => {
            Failure::Refused
        }
        _ => Failure::Unavailable,
    };
    anyhow::Error::new(failure).context(edgepass_server::error_chain(&error))
}

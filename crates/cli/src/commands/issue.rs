//! `edgepass issue`.

use anyhow::bail;
use clap::builder::NonEmptyStringValueParser;
use edgepass_issuer::issue::IssueError;
use edgepass_issuer::order::{OrderError, TokenOrder};
use edgepass_jose::Scope;
use edgepass_server::admin::tokens::{issue, view};
use edgepass_verify::policy::duration::DurationText;
use serde_json::Value;

use super::source::Source;
use crate::exit::{Exit, Failure};
use crate::host::{self, OsEntropy};
use crate::output;
use crate::remote::not_of_an_issuer;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Role of the token. It sets the audience, and limits scopes and lifetime.
    #[arg(long, required_unless_present_any = ["replace", "grant"])]
    role: Option<String>,
    /// `jti` of a token to replace: the new one has its role, audience, client and subject, and at
    /// most its scopes. The old one is revoked after --grace.
    #[arg(long, value_name = "JTI", allow_hyphen_values = true)]
    #[arg(conflicts_with_all = ["role", "audience", "client", "subject"])]
    replace: Option<String>,
    /// A request for access that was granted to you: the token is of its role, and ends with it.
    #[arg(long, value_name = "ID", conflicts_with_all = ["role", "replace", "client", "subject"])]
    grant: Option<String>,
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
    // clap drops `requires` where the required option conflicts with a given one (clap-rs/clap#4520).
    if args.grace.is_some() && args.replace.is_none() {
        bail!("--grace goes with --replace");
    }
    let scope = match args.scopes.as_slice() {
        [] => None,
        _ => Some(Scope::try_from(args.scopes)?.to_string()),
    };
    let order = TokenOrder {
        role: args.role,
        replace: args.replace,
        grant: args.grant,
        grace: args.grace.map(|grace| grace.0.as_secs()),
        audience: args.audience,
        scope,
        lifetime: args.ttl.map(|ttl| ttl.0.as_secs()),
        client_id: args.client,
        sub: args.subject,
        dpop_key: args.dpop_key,
        certificate: args.certificate,
    };
    let issued = &match source.remote()? {
        Some(remote) => remote.post("tokens", &order).await?,
        None => issue_here(order, source).await?,
    };
    let token = issued["access_token"].as_str().ok_or_else(not_of_an_issuer)?;
    if json {
        output::json(issued)?;
    } else {
        output::line(token)?;
    }
    Ok(Exit::Ok)
}

async fn issue_here(order: TokenOrder, source: &Source) -> anyhow::Result<Value> {
    let config = source.load()?;
    let issuer = super::open_issuer(&config, &super::policy_user()).await?;
    let granted = issuer.grant_order(order, &super::actor(), host::now()).await;
    let granted = granted.map_err(|error| match error {
        // Wrong usage.
        OrderError::Malformed(_) => error.into(),
        OrderError::Store(_) => anyhow::Error::from(error),
        _ => anyhow::Error::new(Failure::Refused).context(error.to_string()),
    })?;
    let issued = issue(&issuer, &granted, &mut OsEntropy, host::now).await.map_err(failed)?;
    Ok(view(&issued, &granted))
}

fn failed(error: IssueError) -> anyhow::Error {
    let failure = match error {
        IssueError::NotAcceptable(_)
        | IssueError::ForeignStatus
        | IssueError::NotReplaced
        | IssueError::NoAccess => Failure::Refused,
        _ => Failure::Unavailable,
    };
    anyhow::Error::new(failure).context(edgepass_server::error_chain(&error))
}

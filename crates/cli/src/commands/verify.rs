//! `edgepass verify`.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use edgepass_client::{Fetch, HttpFetch, NativeHost, USER_AGENT};
use edgepass_jose::Scope;
use edgepass_verify::documents::fetch::{Answer, Content, DocumentKind, FetchOrder};
use edgepass_verify::host::judge_and_refresh;
use edgepass_verify::policy::{OneOrMany, StatusMode};
use edgepass_verify::sender::Network;
use edgepass_verify::verifier::{JwksUri, KeySource, Verifier};
use edgepass_verify::{Policy, PolicyConfig, Requirements, Sender, Verdict, VerifyError};
use serde_json::json;

use super::batch;
use super::source::Source;
use crate::exit::Exit;
use crate::{host, output};

#[derive(clap::Args)]
pub(super) struct Args {
    /// File that contains the token, or - for stdin.
    #[arg(default_value = "-")]
    token_file: PathBuf,
    /// Judge a file of requests instead, with one JSON object per line, or - for stdin; see
    /// docs/batch.md.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["token_file", "issuer", "audience", "jwks", "scopes", "status", "typ"])]
    batch: Option<PathBuf>,
    /// Issuer that the token must name in `iss`. Default: that of the configuration file.
    #[arg(long)]
    issuer: Option<String>,
    /// Audience that the token must name in `aud`. Default: any of the roles in the configuration
    /// file.
    #[arg(long)]
    audience: Option<String>,
    /// The issuer's JWK Set: a URL or a file. Default: the one named in the issuer's metadata.
    #[arg(long, value_name = "URL|FILE")]
    jwks: Option<String>,
    /// Prefix that the URIs of status lists must have. Default: the issuer identifier and a slash, or
    /// `base_uri` of the configuration file.
    #[arg(long, value_name = "URL")]
    status_prefix: Option<String>,
    /// The `typ` that the token must have, or `any`. Default: `at+jwt`, or that of the configuration
    /// file.
    #[arg(long)]
    typ: Option<String>,
    /// A scope that the token must have; may be repeated.
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// Address of the client, for a token that names networks.
    #[arg(long, value_name = "IP")]
    address: Option<std::net::IpAddr>,
    /// Autonomous system of the client, for such a token.
    #[arg(long, value_name = "NUMBER")]
    asn: Option<u32>,
    /// Country of the client, for such a token.
    #[arg(long, value_name = "XX", value_parser = country)]
    country: Option<[u8; 2]>,
    /// Source of the token's status: auto fetches the list, FILE contains it, none skips the check.
    #[arg(long, value_name = "auto|FILE|none", default_value = "auto")]
    status: String,
}

/// Parses a country code of ISO 3166-1.
fn country(text: &str) -> Result<[u8; 2], &'static str> {
    let code = <[u8; 2]>::try_from(text.as_bytes()).ok();
    code.filter(|code| code.iter().all(u8::is_ascii_uppercase)).ok_or("write two capitals, as DE")
}

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    if let Some(lines) = &args.batch {
        return batch::run(lines);
    }
    let token = output::read_token(&args.token_file)?;
    let policy = policy(&args, source)?;
    let keys = key_source(args.jwks.as_deref(), &policy)?;
    let fetch = StatusFrom {
        http: HttpFetch::new(host::now, USER_AGENT)?,
        file: match args.status.as_str() {
            "auto" | "none" => None,
            file => Some(std::fs::read(file).with_context(|| format!("{file} cannot be read"))?),
        },
        asked: RefCell::default(),
    };
    let requirements =
        Requirements { all_of: Scope::try_from(args.scopes)?, ..Requirements::default() };
    let mut verifier = Verifier::new(policy, keys)?;
    let network = Network { address: args.address, asn: args.asn, country: args.country };
    let sender = Sender { network, ..Sender::default() };
    let check = verifier.begin(&token, sender, requirements);
    let native = NativeHost::new(fetch, host::now);
    let verdict = judge_and_refresh(&RefCell::new(verifier), check, &native).await;
    print(&verdict, json)?;
    if matches!(verdict.error(), Some(VerifyError::NetworkNotAllowed)) && !json {
        output::line(
            "          say where the request comes from, as the host of the verifier would: --address, --asn, --country",
        )?;
    }
    if verdict.error().is_some_and(VerifyError::is_unavailable) && !json {
        let asked = native.fetch.asked.into_inner();
        let places = if asked.is_empty() { "the given files".to_owned() } else { asked.join(", ") };
        output::line(&format!(
            "          no usable document from {places}; is the issuer running?"
        ))?;
    }
    Ok(match verdict.error() {
        None => Exit::Ok,
        Some(error) if error.is_unavailable() => Exit::Unavailable,
        Some(_) => Exit::Refused,
    })
}

/// The policy by the arguments. The configuration file of an issuer gives what they leave out.
fn policy(args: &Args, source: &Source) -> anyhow::Result<Policy> {
    let (issuer, audience, of_file) = match (args.issuer.clone(), args.audience.clone()) {
        (Some(issuer), Some(audience)) => (issuer, OneOrMany::One(audience), None),
        (issuer, audience) => {
            let config = source.load().with_context(
                || "pass --issuer and --audience, or run the command in an issuer's folder",
            )?;
            let of_other = issuer.as_ref().is_some_and(|issuer| *issuer != config.issuer);
            let audience = match audience {
                Some(audience) => OneOrMany::One(audience),
                None if of_other => {
                    bail!(
                        "pass --audience: the roles of {} are for another issuer",
                        source.config().display()
                    )
                }
                None => OneOrMany::Many(
                    config.policy.roles.iter().flat_map(|role| role.audiences.clone()).collect(),
                ),
            };
            let of_file = (!of_other)
                .then(|| (format!("{}/", config.status.base_uri), config.token_type.name()));
            (issuer.unwrap_or(config.issuer), audience, of_file)
        }
    };
    let mut config = PolicyConfig::new(issuer, audience);
    let (prefix, typ) = of_file.unzip();
    config.typ = match args.typ.as_deref().or(typ) {
        Some("any") => Some(None),
        typ => typ.map(|typ| Some(typ.to_owned())),
    };
    if args.status == "none" {
        if args.status_prefix.is_some() {
            bail!("--status-prefix has no effect with --status none: leave it out");
        }
        config.status.mode = Some(StatusMode::Ignore);
    } else {
        let prefix = args.status_prefix.clone().or(prefix);
        config.status.uri_prefixes = prefix.map(|prefix| vec![prefix]);
    }
    Ok(config.try_into()?)
}

fn key_source(jwks: Option<&str>, policy: &Policy) -> anyhow::Result<KeySource> {
    match jwks {
        None => Ok(KeySource::Discover),
        Some(url) if url.starts_with("https://") || url.starts_with("http://") => {
            Ok(KeySource::Url(JwksUri::parse(url)?))
        }
        Some(file) => {
            let text = std::fs::read(Path::new(file))
                .with_context(|| format!("{file} cannot be read; --jwks takes a URL or a file"))?;
            KeySource::given(&text, policy).map_err(|error| anyhow!("{file}: {error}"))
        }
    }
}

fn print(verdict: &Verdict, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&json!({
            "accepted": verdict.accepted(),
            "code": verdict.error().map(|error| error.code()),
            "claims": verdict.outcome.as_ref().ok().map(|claims| claims.members()),
            "message": verdict.error().map(ToString::to_string),
            "status": verdict.status.map(|report| json!({
                "value": report.status.number(),
                "confirmed_at": report.confirmed_at.0,
                "stale": report.stale,
            })),
            "stale": verdict.stale,
        }));
    }
    match &verdict.outcome {
        Ok(claims) => {
            let claim =
                |name| claims.get(name).and_then(|value| value.as_str()).unwrap_or_default();
            output::line(&format!("accepted  jti={} scope={:?}", claim("jti"), claim("scope")))
        }
        Err(error) => output::line(&format!("refused   {}: {error}", error.code())),
    }
}

/// Fetches over HTTP, except for status lists if `--status` names a file.
struct StatusFrom {
    http: HttpFetch,
    file: Option<Vec<u8>>,
    /// Documents requested over HTTP, as named in the text output.
    asked: RefCell<Vec<String>>,
}

impl Fetch for StatusFrom {
    async fn fetch(&self, order: &FetchOrder) -> Answer {
        match (&self.file, order.document) {
            (Some(bytes), DocumentKind::StatusList) => Answer {
                content: Content::Body {
                    bytes: bytes.trim_ascii().to_vec(),
                    media_type: Some(DocumentKind::StatusList.accept().to_owned()),
                    etag: None,
                },
                ..Answer::failed(host::now())
            },
            _ => {
                self.asked.borrow_mut().push(match order.document {
                    DocumentKind::StatusList => "the token's status list".to_owned(),
                    _ => order.url.clone(),
                });
                self.http.fetch(order).await
            }
        }
    }
}

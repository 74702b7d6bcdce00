//! The form of `edgepass.toml`, before its values are checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edgepass_verify::policy::OneOrMany;
use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::policy::freshness::FreshnessConfig;
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;
use toml::value::Datetime;

use super::error::Mistake;
use super::{CertificateField, TargetConfig};
use crate::misuse::Rule;
use crate::policy::SenderConstraint;
use crate::records::PartyKind;
use crate::selection::StatusChange;
use crate::signing_key::{SigningAlgorithm, TokenType};

/// A file, or all files together. A setting that no file needs to have alone is optional.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConfigText {
    /// Issuer identifier: the `iss` of every token. Published URLs start with it, unless `base_uri`
    /// is set.
    pub(super) issuer: Option<Spanned<String>>,
    /// The address and port that `serve` listens on.
    pub(super) listen: Option<Spanned<String>>,
    /// The data directory. A relative path starts at the folder of `edgepass.toml`.
    pub(super) data_dir: Option<Spanned<PathBuf>>,
    /// The URL of a PostgreSQL database, instead of a file in the data directory.
    pub(super) database: Option<Spanned<String>>,
    /// The file with the master key, outside the data directory. The variable `EDGEPASS_MASTER_KEY`
    /// takes precedence.
    pub(super) master_key_file: Option<Spanned<PathBuf>>,
    /// Lifetimes for roles that set none.
    pub(super) tokens: Option<Spanned<TokensText>>,
    /// The revocation deadline and the settings that must meet it.
    pub(super) revocation: Option<Spanned<FreshnessConfig>>,
    /// The form and the base URI of status lists.
    pub(super) status: Option<Spanned<StatusText>>,
    /// The schedule of automatic key changes.
    pub(super) keys: Option<Spanned<KeysText>>,
    /// Targets: documents are published there besides the issuer's own endpoint.
    #[serde(rename = "target")]
    pub(super) targets: Vec<Spanned<TargetText>>,
    /// TLS of the address that `serve` listens on.
    pub(super) tls: Option<Spanned<TlsText>>,
    /// Proxies in front, and what they say of clients.
    pub(super) proxy: Option<Spanned<ProxyText>>,
    /// Who may report leaked tokens.
    pub(super) leaks: Option<Spanned<LeaksText>>,
    /// Limits of requests.
    pub(super) limits: Option<Spanned<LimitsText>>,
    /// What the log of the audit trail is compared with.
    pub(super) audit: Option<Spanned<AuditText>>,
    /// Patterns that names must fit.
    pub(super) naming: Option<Spanned<NamingText>>,
    #[serde(rename = "environment")]
    pub(super) environments: Vec<Spanned<EnvironmentText>>,
    #[serde(rename = "scope")]
    pub(super) scopes: Vec<Spanned<ScopeText>>,
    #[serde(rename = "agreement")]
    pub(super) agreements: Vec<Spanned<AgreementText>>,
    #[serde(rename = "party")]
    pub(super) parties: Vec<Spanned<PartyText>>,
    #[serde(rename = "role")]
    pub(super) roles: Vec<Spanned<RoleText>>,
    #[serde(rename = "client")]
    pub(super) clients: Vec<Spanned<ClientText>>,
    #[serde(rename = "federation")]
    pub(super) federations: Vec<Spanned<FederationText>>,
    #[serde(rename = "approval")]
    pub(super) approvals: Vec<Spanned<ApprovalText>>,
    /// What is misuse, and what bounds the acts that follow.
    pub(super) misuse: Option<Spanned<MisuseText>>,
    /// Where findings are told.
    pub(super) alerts: Option<Spanned<AlertsText>>,
    /// How e-mail is sent.
    pub(super) mail: Option<Spanned<MailText>>,
}

impl ConfigText {
    /// Adds the settings of a further file. Returns the settings that both have, with the offset of
    /// the second.
    pub(super) fn add(&mut self, file: Self) -> Vec<(usize, &'static str)> {
        let mut twice = Vec::new();
        let mut seen = |name, at: Option<usize>| twice.extend(at.map(|at| (at, name)));
        seen("issuer", once(&mut self.issuer, file.issuer));
        seen("listen", once(&mut self.listen, file.listen));
        seen("data_dir", once(&mut self.data_dir, file.data_dir));
        seen("database", once(&mut self.database, file.database));
        seen("master_key_file", once(&mut self.master_key_file, file.master_key_file));
        seen("[tokens]", once(&mut self.tokens, file.tokens));
        seen("[revocation]", once(&mut self.revocation, file.revocation));
        seen("[status]", once(&mut self.status, file.status));
        seen("[keys]", once(&mut self.keys, file.keys));
        seen("[tls]", once(&mut self.tls, file.tls));
        seen("[proxy]", once(&mut self.proxy, file.proxy));
        seen("[leaks]", once(&mut self.leaks, file.leaks));
        seen("[limits]", once(&mut self.limits, file.limits));
        seen("[audit]", once(&mut self.audit, file.audit));
        seen("[naming]", once(&mut self.naming, file.naming));
        seen("[misuse]", once(&mut self.misuse, file.misuse));
        seen("[alerts]", once(&mut self.alerts, file.alerts));
        seen("[mail]", once(&mut self.mail, file.mail));
        self.targets.extend(file.targets);
        self.environments.extend(file.environments);
        self.scopes.extend(file.scopes);
        self.agreements.extend(file.agreements);
        self.parties.extend(file.parties);
        self.roles.extend(file.roles);
        self.clients.extend(file.clients);
        self.federations.extend(file.federations);
        self.approvals.extend(file.approvals);
        twice
    }
}

/// Sets a setting that is not set yet. Returns the offset of `new` if it is.
fn once<T>(setting: &mut Option<Spanned<T>>, new: Option<Spanned<T>>) -> Option<usize> {
    match (&setting, new) {
        (Some(_), Some(new)) => Some(new.span().start),
        (_, None) => None,
        (None, new) => {
            *setting = new;
            None
        }
    }
}

/// `[leaks]`: who may report leaked tokens.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LeaksText {
    /// The hash of GitLab's token, as `edgepass client-secret` prints it.
    pub(super) gitlab_token_hash: Option<String>,
    #[serde(rename = "github_key")]
    pub(super) github_keys: Vec<GithubKeyText>,
}

/// A `[[leaks.github_key]]`, as GitHub gives it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GithubKeyText {
    pub(super) key_identifier: String,
    /// In PEM.
    pub(super) key: String,
}

/// `[limits]`: limits of requests in a minute.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsText {
    pub(super) requests_per_client: u32,
    pub(super) failures_per_address: Option<u32>,
    pub(super) reports_per_address: Option<u32>,
}

/// `[misuse]`: rules and brakes.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MisuseText {
    #[serde(rename = "rule")]
    pub(super) rules: Vec<Rule>,
    pub(super) acts_per_hour: Option<u32>,
    pub(super) acts_per_hour_and_role: Option<u32>,
    pub(super) never_roles: Vec<String>,
    pub(super) never_clients: Vec<String>,
    pub(super) dry_run: bool,
}

/// `[alerts]`: the webhook that is told of findings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertsText {
    pub(super) url: String,
    /// The file with the secret that signs. The variable `EDGEPASS_ALERT_SECRET` takes precedence.
    pub(super) secret_file: Option<PathBuf>,
}

/// `[tls]`: a certificate, or a proxy that has one.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsText {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) by_proxy: bool,
}

/// `[proxy]`: hops whose header fields count.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProxyText {
    /// The networks of the proxies.
    pub(super) from: Vec<String>,
    /// The header field with the addresses of clients and proxies.
    pub(super) forwarded_for: Option<String>,
    /// The header field with the client's certificate.
    pub(super) client_certificate: Option<CertificateField>,
}

/// `[audit]`: checkpoints of the log that are kept elsewhere.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuditText {
    /// Files with checkpoints, such as those that a witness keeps.
    pub(super) checkpoints: Vec<PathBuf>,
}

/// `[naming]`: regular expressions that whole names must match.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NamingText {
    pub(super) role: Option<String>,
    pub(super) client: Option<String>,
    pub(super) scope: Option<String>,
}

/// An `[[environment]]`: an issuer of its own below the configured one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvironmentText {
    /// The last path segment of the issuer identifier.
    pub(super) name: String,
}

/// A `[[scope]]` of the catalogue.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScopeText {
    pub(super) name: String,
    pub(super) description: String,
    /// Categories of data.
    #[serde(default)]
    pub(super) data: Vec<String>,
    /// Categories of data subjects.
    #[serde(default)]
    pub(super) subjects: Vec<String>,
    /// Whether these are personal data. Must be written.
    pub(super) personal: bool,
}

/// An `[[agreement]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AgreementText {
    pub(super) id: String,
    pub(super) parties: Vec<String>,
    pub(super) purposes: Vec<String>,
    pub(super) data: Vec<String>,
    #[serde(default)]
    pub(super) recipients: Vec<String>,
    #[serde(default)]
    pub(super) regions: Vec<String>,
    /// Whether tokens may be used from these regions alone. Default false.
    #[serde(default)]
    pub(super) enforce_regions: bool,
    /// What protects data in regions outside of the EEA, by region.
    #[serde(default)]
    pub(super) safeguards: BTreeMap<String, String>,
    pub(super) retention: Option<DurationText>,
    /// The first day, in UTC, or the exact time.
    pub(super) start: Datetime,
    /// The last day, in UTC, or the exact time from which the agreement no longer holds.
    pub(super) end: Option<Datetime>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TokensText {
    /// The `typ` of tokens. Default `"at+jwt"`.
    pub(super) typ: TokenType,
    /// Whether DPoP proofs of token requests must contain a nonce of the issuer. Default false.
    pub(super) dpop_nonce: bool,
    pub(super) lifetime: DurationText,
    pub(super) max_lifetime: DurationText,
    /// The time for which the record of a token stays after the token has expired. Default `"30days"`, at
    /// least `"1d"`. The audit trail stays for good.
    pub(super) keep_records: DurationText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StatusText {
    /// The number of indices of a list. Default 131072. With larger lists there are fewer of them,
    /// but each changes more often and takes longer to fetch. A change applies to lists opened
    /// afterwards.
    pub(super) list_capacity: Spanned<u32>,
    /// Whether tokens can be suspended and resumed. Default false. If true, a status takes two
    /// bits. A change applies to tokens issued afterwards.
    pub(super) suspension: bool,
    /// The base of the URIs of lists, aggregation and JWK Set, if verifiers fetch these from a
    /// target. Default: the issuer identifier. Verifiers must allow the URIs of the lists
    /// (`uri_prefixes`).
    pub(super) base_uri: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeysText {
    /// The algorithm of keys that are generated from now on: `"EdDSA"` (default), `"ES256"` or
    /// `"RS256"`.
    pub(super) algorithm: SigningAlgorithm,
    /// The time for which a key signs. Default `"30days"`. Must be longer than `overlap`.
    pub(super) rotation: DurationText,
    /// The time for which a key stays published after it has stopped signing. Default `"25h"`. At
    /// least the longest lifetime of a token plus 10 minutes.
    pub(super) overlap: DurationText,
    /// The device that keys are generated in from now on. Default: none.
    pub(super) pkcs11: Option<Pkcs11Text>,
}

/// `[keys.pkcs11]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pkcs11Text {
    /// The library of the device's maker, by its absolute path.
    pub(super) module: PathBuf,
    /// The label of the token in which the keys are.
    pub(super) token_label: String,
    /// The file with the user's PIN. The variable `EDGEPASS_PKCS11_PIN` takes precedence.
    pub(super) pin_file: Option<PathBuf>,
}

/// A `[[target]]`.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum TargetText {
    /// A directory. A web server of the operator makes it public.
    Directory { path: PathBuf },
    /// An S3-compatible bucket. Its credentials come from the environment.
    S3 { bucket: String, endpoint: Option<String>, region: Option<String> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleText {
    pub(super) name: String,
    pub(super) environment: Option<String>,
    /// One audience, or several, of which a token has one.
    pub(super) audience: OneOrMany,
    pub(super) scopes: Vec<String>,
    pub(super) lifetime: Option<DurationText>,
    pub(super) max_lifetime: Option<DurationText>,
    pub(super) agreement: Option<String>,
    /// What the sender of a token must prove. Default `"none"`.
    #[serde(default)]
    pub(super) sender: SenderConstraint,
    /// The networks from which a token may be used. Default: any.
    pub(super) networks: Option<Vec<String>>,
    pub(super) owner: Option<String>,
    pub(super) description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientText {
    pub(super) id: String,
    pub(super) environment: Option<String>,
    #[serde(default)]
    pub(super) roles: Vec<String>,
    /// Changes that the client may make over HTTP to tokens of all clients: "revoke", "suspend",
    /// "resume". Default: none.
    #[serde(default)]
    pub(super) may: Vec<StatusChange>,
    /// Audiences whose tokens the client may introspect. Default: none.
    #[serde(default)]
    pub(super) introspects: Vec<String>,
    /// Audiences whose tokens the client may exchange, besides its own tokens. Default: none.
    #[serde(default)]
    pub(super) exchanges: Vec<String>,
    /// Whether the client may allot status entries for tokens of other issuers. Default false.
    #[serde(default)]
    pub(super) allots: bool,
    /// Audiences of the tokens whose use the client may report. Default: none.
    #[serde(default)]
    pub(super) reports_use_of: Vec<String>,
    /// The hash of its secret.
    pub(super) secret_hash: Option<String>,
    /// At most two secrets, each with the time for which it holds.
    pub(super) secrets: Option<Vec<SecretText>>,
    /// The JWK Set of its public keys, as JSON.
    pub(super) jwks: Option<String>,
    /// The SHA-256 of its TLS certificates, in hexadecimal.
    pub(super) certificates: Option<Vec<String>>,
}

/// A `[[federation]]`: an outside issuer whose tokens are exchanged for a role.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FederationText {
    pub(super) name: String,
    pub(super) environment: Option<String>,
    pub(super) issuer: String,
    pub(super) jwks_uri: Option<String>,
    pub(super) role: String,
    /// Conditions on claims. One names the workload for good.
    pub(super) claims: BTreeMap<String, Value>,
    /// Default `"5m"`, at most that of the role.
    pub(super) lifetime: Option<DurationText>,
}

/// An `[[approval]]`: roles that need an approved request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApprovalText {
    pub(super) name: String,
    pub(super) environment: Option<String>,
    pub(super) roles: Vec<String>,
    pub(super) may_ask: Vec<String>,
    pub(super) may_approve: Vec<String>,
    /// Who may have access without an approval. Default: nobody.
    #[serde(default)]
    pub(super) may_break_glass: Vec<String>,
    /// How many approve. Default 1.
    pub(super) approvals: Option<u32>,
    /// How many deny. Default 1.
    pub(super) denials: Option<u32>,
    /// A regular expression that reasons fit.
    pub(super) reason: Option<String>,
    /// A regular expression that tickets fit. Default: a ticket is optional.
    pub(super) ticket: Option<String>,
    /// The longest access.
    pub(super) longest: DurationText,
    /// How far ahead access may begin. Default: it begins once it is approved.
    pub(super) start_within: Option<DurationText>,
    /// The e-mail addresses that are told of requests.
    #[serde(default)]
    pub(super) tell: Vec<String>,
}

/// `[mail]`: how e-mail is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MailText {
    /// The URL of the SMTP server: `smtps://` (TLS), `smtp://` (STARTTLS, or in clear on loopback).
    pub(super) server: String,
    /// The address that e-mail comes from.
    pub(super) from: String,
    /// Who authenticates to the server.
    pub(super) user: Option<String>,
    /// The file with the password. The variable `EDGEPASS_MAIL_PASSWORD` takes precedence.
    pub(super) password_file: Option<PathBuf>,
}

/// A `[[party]]`: who a party to agreements is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartyText {
    pub(super) name: String,
    pub(super) kind: PartyKind,
    pub(super) contact: Option<String>,
    pub(super) representative: Option<String>,
    pub(super) dpo: Option<String>,
    pub(super) country: Option<String>,
}

/// One of a client's `secrets`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretText {
    pub(super) hash: String,
    /// The first day, in UTC, or the exact time.
    pub(super) from: Option<Datetime>,
    /// The last day, in UTC, or the exact time from which it no longer holds.
    pub(super) until: Option<Datetime>,
}

impl Default for TokensText {
    fn default() -> Self {
        Self {
            typ: TokenType::default(),
            dpop_nonce: false,
            lifetime: DurationText(Duration::from_secs(10 * 60)),
            max_lifetime: DurationText(Duration::from_secs(60 * 60)),
            keep_records: DurationText(Duration::from_secs(30 * 24 * 60 * 60)),
        }
    }
}

impl Default for StatusText {
    fn default() -> Self {
        Self { list_capacity: Spanned::new(0..0, 1 << 17), suspension: false, base_uri: None }
    }
}

impl Default for KeysText {
    fn default() -> Self {
        const HOUR: u64 = 60 * 60;
        let seconds = |seconds| DurationText(Duration::from_secs(seconds));
        Self {
            algorithm: SigningAlgorithm::default(),
            rotation: seconds(30 * 24 * HOUR),
            overlap: seconds(25 * HOUR),
            pkcs11: None,
        }
    }
}

impl TargetText {
    /// Checks the target. A relative path starts at `base`.
    pub(super) fn below(self, base: &Path) -> Result<TargetConfig, Mistake> {
        match self {
            Self::Directory { path } if path.as_os_str().is_empty() => Err(Mistake::TargetPath),
            Self::Directory { path } => Ok(TargetConfig::Directory { path: base.join(path) }),
            Self::S3 { bucket, endpoint, region } => {
                if !is_s3_name(&bucket) || !region.as_deref().is_none_or(is_s3_name) {
                    return Err(Mistake::TargetName);
                }
                if !endpoint.as_deref().is_none_or(is_s3_endpoint) {
                    return Err(Mistake::TargetEndpoint);
                }
                Ok(TargetConfig::S3 { bucket, prefix: None, endpoint, region })
            }
        }
    }
}

/// Whether `name` may be a bucket or a region: 1 to 255 letters, digits, `.`, `-` and `_`. The client
/// of buckets puts both into URLs and header fields, and panics on some other characters.
pub fn is_s3_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=255).contains(&name.len()) && name.bytes().all(plain)
}

/// Whether `endpoint` is the http or https URL of a bucket's server: a host name or address, a port
/// up to 65535 if any, without user information, query and fragment. Log lines name it.
pub fn is_s3_endpoint(endpoint: &str) -> bool {
    let Some(origin) = edgepass_verify::url::origin(endpoint) else { return false };
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let port_fits = match authority.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => port.parse::<u16>().is_ok(),
        _ => true,
    };
    authority.bytes().all(plain) && port_fits && !endpoint.contains(['?', '#'])
}

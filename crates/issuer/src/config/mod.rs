//! The issuer's configuration, `edgepass.toml`.

mod checks;
mod countries;
mod database_url;
mod error;
mod installation;
mod policy_checks;
mod sources;
mod written;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edgepass_status_list::Bits;
use edgepass_verify::policy::freshness::{FreshnessConfig, Schedule};
use ipnet::IpNet;
use serde::Deserialize;

pub use self::database_url::DatabaseUrl;
pub use self::error::{ConfigError, Mistake, Mistakes};
pub use self::installation::{EntryKind, Installation, Places, UnknownEnvironment};
pub use self::sources::{Place, SourceFile};
pub use self::written::{is_s3_endpoint, is_s3_name};
use crate::client::secret::SecretHash;
use crate::keys::KeySchedule;
use crate::leak_keys::GithubKey;
use crate::policy::IssuerPolicy;
use crate::publish::edition::LIST_LIFETIME;
use crate::records::Party;
use crate::signing_key::TokenType;

/// The longest lifetime that a role may have. By default, verifiers refuse tokens with a longer
/// one.
pub const LIFETIME_CAP: Duration = Duration::from_secs(24 * 60 * 60);

/// The allowed capacities of a list. With a smaller list, a verifier's requests would reveal to
/// which tokens they belong. A larger one with two bits for each status exceeds the size that
/// verifiers inflate by default, 1 MiB.
pub const LIST_CAPACITIES: RangeInclusive<u32> = 1024..=1 << 22;

/// The configuration of a target. Documents are published there besides the issuer's own endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TargetConfig {
    /// A directory. A web server of the operator makes it public.
    Directory {
        /// The path of the directory. The issuer creates the directory if it does not exist.
        path: PathBuf,
    },
    /// An S3-compatible bucket. Its credentials come from the environment.
    S3 {
        /// The name of the bucket.
        bucket: String,
        /// The start of the names of all objects, with `/` after it. `None`: nothing precedes them.
        prefix: Option<String>,
        /// The URL of the service. Default: from the environment (`AWS_ENDPOINT_URL`), else
        /// Amazon's.
        endpoint: Option<String>,
        /// The region; `auto` for Cloudflare R2. Default: from the environment (`AWS_REGION`), else
        /// `us-east-1`.
        region: Option<String>,
    },
}

/// The clients of the issuer's own commands. No client of a policy has their names.
pub const OWN_CLIENTS: [&str; 2] = ["edgepass-cli", "edgepass-doctor"];

/// How the issuer's own endpoint is protected on its way to clients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TlsConfig {
    /// `serve` speaks plain HTTP: on a loopback address, or behind a proxy that terminates TLS.
    Plain,
    /// `serve` speaks TLS with this certificate.
    Certificate {
        /// The file with the certificate chain, in PEM.
        certificate: PathBuf,
        /// The file with the private key, in PEM.
        key: PathBuf,
    },
}

/// A token of a PKCS #11 device in which the issuer's keys are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pkcs11Config {
    /// The library of the device's maker.
    pub module: PathBuf,
    /// The label of the token.
    pub token_label: String,
    /// The file with the user's PIN. The variable `EDGEPASS_PKCS11_PIN` takes precedence.
    pub pin_file: Option<PathBuf>,
}

/// Who may report leaked tokens besides those who hold one.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct LeaksConfig {
    /// The hash of the token by which GitLab authenticates. `None`: GitLab is not known.
    pub gitlab_token: Option<SecretHash>,
    /// The public keys by which GitHub signs reports.
    pub github_keys: Vec<GithubKey>,
}

/// The webhook that is told of findings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AlertsConfig {
    /// Its URL.
    pub url: String,
    /// The file with the secret that signs. The variable `EDGEPASS_ALERT_SECRET` takes precedence.
    pub secret_file: Option<PathBuf>,
}

/// How e-mail is sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MailConfig {
    /// The host name or address of the SMTP server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: MailSecurity,
    /// The address that it comes from.
    pub from: String,
    /// Who authenticates. `None`: nobody does.
    pub user: Option<String>,
    /// The file with the password. The variable `EDGEPASS_MAIL_PASSWORD` takes precedence.
    pub password_file: Option<PathBuf>,
}

/// How the connection to an SMTP server is protected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MailSecurity {
    /// TLS from the first octet (RFC 8314 §3.3).
    Tls,
    /// TLS after STARTTLS (RFC 3207), without which nothing is sent.
    StartTls,
    /// Not at all: the server is on this machine.
    Loopback,
}

/// Limits of requests in a minute. 0: no limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LimitsConfig {
    /// Requests of one client at the OAuth endpoints. Default: no limit.
    pub requests_per_client: u32,
    /// Requests from one address that do not authenticate. Default 120, or no limit where a proxy that says nothing of
    /// its clients may be in front: they would all have its address.
    pub failures_per_address: u32,
    /// Reports of leaked tokens from one address. Default 60, or no limit, as above.
    pub reports_per_address: u32,
}

/// Proxies in front of the issuer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProxyConfig {
    /// The networks of the proxies. Header fields of other senders do not count.
    pub from: Vec<IpNet>,
    /// The header field in which each proxy adds the address that it was called from, such as
    /// `X-Forwarded-For`, in lower case.
    pub forwarded_for: Option<String>,
    /// The header field with the certificate by which the client authenticated to the proxy.
    pub client_certificate: Option<CertificateField>,
}

/// A header field with a client's certificate.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct CertificateField {
    /// Its name, in lower case.
    pub header: String,
    /// How the certificate is written.
    pub form: CertificateForm,
}

/// How a proxy writes a certificate into a header field.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum CertificateForm {
    /// As `Client-Cert` of RFC 9440: base64 between colons.
    Rfc9440,
    /// As PEM, percent-encoded: `$ssl_client_escaped_cert` of nginx.
    Pem,
}

impl ProxyConfig {
    /// Whether an address is that of a proxy.
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        self.from.iter().any(|network| network.contains(&address))
    }
}

/// The form of status lists and the schedule of their renewal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListSchedule {
    /// The number of indices of a list.
    pub capacity: u32,
    /// The bits of a status: two if tokens can be suspended, else one.
    pub bits: Bits,
    /// The base of the URIs of lists, aggregation and JWK Set, without a trailing slash.
    pub base_uri: String,
    /// The largest age of a list by its `iat` that verifiers accept, in seconds. A JWK Set is
    /// served with an `exp` at most this far ahead. `None`: only the `exp` of a list bounds its
    /// age, and the JWK Set has no `exp`.
    pub max_age: Option<u64>,
    /// Whether lists name a status head, which is published as well.
    pub head: bool,
}

impl ListSchedule {
    /// The time, in seconds, after which the issuer signs a list again and extends the `exp` of the
    /// JWK Set: a third of [`ListSchedule::max_age`], so that a copy fetched just before then lasts
    /// through an outage. At most 30 minutes, which is also the time without a `max_age`.
    pub fn renew_after(&self) -> u64 {
        self.max_age.map_or(LIST_LIFETIME / 2, |age| (age / 3).clamp(1, LIST_LIFETIME / 2))
    }
}

/// The configuration of one issuer.
pub struct Config {
    /// The name of the environment. `None`: the configuration has no environments.
    pub environment: Option<String>,
    /// Issuer identifier, without a trailing slash. That of an environment ends with its name.
    pub issuer: String,
    /// The address and port that `serve` listens on.
    pub listen: SocketAddr,
    /// TLS of that address.
    pub tls: TlsConfig,
    /// The data directory, which holds the database. That of an environment is in a folder of its
    /// name.
    pub data_dir: PathBuf,
    /// The URL of the PostgreSQL database. `None`: the database is a file, [`Config::database`].
    pub database_url: Option<DatabaseUrl>,
    /// The file with the master key. The variable `EDGEPASS_MASTER_KEY` takes precedence.
    pub master_key_file: Option<PathBuf>,
    /// The `typ` of access tokens.
    pub token_type: TokenType,
    /// The time for which the record of a token stays after its expiry, in seconds.
    pub keep_records: u64,
    /// Whether DPoP proofs of token requests must contain a nonce of the issuer (RFC 9449 §8).
    pub dpop_nonce: bool,
    /// `[revocation]` as written.
    pub freshness: FreshnessConfig,
    /// The time limits that `[revocation]` gives to verifiers.
    pub revocation: Schedule,
    /// The form of status lists and the schedule of their renewal.
    pub status: ListSchedule,
    /// The rules of automatic key changes.
    pub keys: KeySchedule,
    /// Where keys are generated from now on. `None`: here, and sealed.
    pub pkcs11: Option<Pkcs11Config>,
    /// The proxies in front. `None`: clients connect directly, or the proxies say nothing of them.
    pub proxy: Option<ProxyConfig>,
    /// Who may report leaked tokens.
    pub leaks: LeaksConfig,
    /// Limits of requests.
    pub limits: LimitsConfig,
    /// The webhook that is told of findings. `None`: nobody is.
    pub alerts: Option<AlertsConfig>,
    /// How e-mail is sent. `None`: none is.
    pub mail: Option<MailConfig>,
    /// Files with checkpoints of the audit log that are kept elsewhere. `serve` compares itself with
    /// them when it starts.
    pub audit_checkpoints: Vec<PathBuf>,
    /// The targets, besides the issuer's own endpoint. An environment has a folder in each.
    pub targets: Vec<TargetConfig>,
    /// Roles, clients, and the scopes and agreements that they need.
    pub policy: Arc<IssuerPolicy>,
    /// Who the parties to agreements are.
    pub parties: Vec<Party>,
}

impl TargetConfig {
    /// The folder of an environment in this target.
    fn of(&self, environment: Option<&str>) -> Self {
        match (self.clone(), environment) {
            (Self::Directory { path }, Some(name)) => Self::Directory { path: path.join(name) },
            (Self::S3 { bucket, endpoint, region, .. }, Some(name)) => {
                Self::S3 { bucket, prefix: Some(name.to_owned()), endpoint, region }
            }
            (whole, None) => whole,
        }
    }
}

impl Config {
    /// Reads and checks the text of a configuration with one environment. Relative paths start at
    /// `base`.
    ///
    /// # Errors
    ///
    /// [`Mistakes`]; a configuration of several environments has none either.
    ///
    /// # Example
    ///
    /// ```
    /// use std::path::Path;
    /// use edgepass_issuer::Config;
    ///
    /// let text = "issuer = \"https://issuer.example\"\nlisten = \"8787\"\ndata_dir = \"data\"\n";
    /// let mistakes = Config::parse(text, Path::new("/etc/edgepass")).err().unwrap();
    /// assert!(mistakes.to_string().starts_with("edgepass.toml:2: listen: write an address and a port"));
    /// ```
    pub fn parse(text: &str, base: &Path) -> Result<Self, Mistakes> {
        let file = SourceFile { name: "edgepass.toml".to_owned(), text: text.to_owned() };
        let several = |_| Mistakes(Vec::new());
        Installation::parse(&[file], base)?.environment(None).map_err(several)
    }

    /// The settings besides the policy that differ from those of another configuration of the same
    /// environment. `serve` takes them only when it starts.
    pub fn changed_settings(&self, other: &Self) -> Vec<&'static str> {
        let changed = [
            ("issuer", self.issuer != other.issuer),
            ("listen", self.listen != other.listen),
            ("[tls]", self.tls != other.tls),
            ("data_dir", self.data_dir != other.data_dir),
            ("database", self.database_url != other.database_url),
            ("master_key_file", self.master_key_file != other.master_key_file),
            ("[tokens] typ", self.token_type != other.token_type),
            ("[tokens] dpop_nonce", self.dpop_nonce != other.dpop_nonce),
            ("[tokens] keep_records", self.keep_records != other.keep_records),
            ("[revocation]", self.freshness != other.freshness),
            ("[status]", self.status != other.status),
            ("[keys]", self.keys != other.keys || self.pkcs11 != other.pkcs11),
            ("[proxy]", self.proxy != other.proxy),
            ("[leaks]", self.leaks != other.leaks),
            ("[limits]", self.limits != other.limits),
            ("[alerts]", self.alerts != other.alerts),
            ("[mail]", self.mail != other.mail),
            ("[audit]", self.audit_checkpoints != other.audit_checkpoints),
            ("[[target]]", self.targets != other.targets),
        ];
        changed.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    /// Whether a proxy in front shows the certificates of clients.
    pub fn proxy_shows_certificates(&self) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.client_certificate.is_some())
    }

    /// The schema of a PostgreSQL database that holds the tables: `edgepass`, or that of an environment.
    pub fn schema(&self) -> String {
        match &self.environment {
            None => "edgepass".to_owned(),
            Some(name) => format!("edgepass_{name}"),
        }
    }

    /// The database file: `edgepass.db` in the data directory.
    pub fn database(&self) -> PathBuf {
        self.data_dir.join("edgepass.db")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"issuer = "https://issuer.example"
listen = "127.0.0.1:8787"
data_dir = "data"
master_key_file = "master.key"

[tokens]
lifetime = "10m"

[revocation]
deadline = "10s"

[[role]]
name = "reader"
audience = "https://api.example"
scopes = ["invoices:read"]

[[client]]
id = "billing"
roles = ["reader"]
secret_hash = "sha256:AAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
"#;

    fn parse(text: &str) -> Result<Config, Mistakes> {
        Config::parse(text, Path::new("/etc/edgepass"))
    }

    #[test]
    fn a_whole_file_is_read_and_defaults_are_filled_in() {
        let config = parse(GOOD).unwrap();
        assert_eq!(config.database(), Path::new("/etc/edgepass/data/edgepass.db"));
        let role = config.policy.role("reader").unwrap();
        assert_eq!((role.lifetime, role.max_lifetime), (600, 3600));
        assert_eq!(config.policy.longest_lifetime(), 3600);
        assert_eq!(config.keys.settling, 30);
        let config = parse(&GOOD.replace("\"10s\"", "\"99500ms\"")).unwrap();
        assert_eq!(config.keys.settling, 100);
    }

    #[test]
    fn an_endpoint_may_have_a_port_an_address_and_a_path() {
        for right in [
            "http://127.0.0.1:9000",
            "http://[::1]:9000",
            "https://[::1]",
            "https://s3.example/tenant",
        ] {
            assert!(is_s3_endpoint(right), "{right}");
        }
    }

    #[test]
    fn every_mistake_names_its_line_and_what_to_write() {
        let s3 = |endpoint: &str| {
            let target = "[[target]]\nkind = \"s3\"\nbucket = \"b\"\nregion = \"auto\"\n";
            format!("{target}endpoint = \"{endpoint}\"\n[revocation]")
        };
        for (from, to, line, says) in [
            ("issuer = \"https", "issuer = \"ftp", 1, "https URL"),
            ("issuer.example\"", "issuer.example/\"", 1, "trailing slash"),
            ("127.0.0.1:8787", "8787", 2, "\"127.0.0.1:8787\""),
            ("data_dir", "datadir", 3, "unknown field"),
            ("\"master.key\"", "\"data/master.key\"", 4, "outside data_dir"),
            ("\"10m\"", "10", 7, "\"10s\""),
            ("\"10m\"", "\"10\"", 7, "\"10s\""),
            ("\"10m\"", "\"2h\"\nmax_lifetime = \"48h\"", 13, "from \"1s\" to \"1d\""),
            ("\"10m\"", "\"2h\"", 12, "lifetime is from \"1s\" to \"1h\""),
            ("\"10m\"", "\"10M\"", 7, "ms, s, m, h, d"),
            ("\"10m\"", "\"10m\"\nkeep_records = \"23h\"", 6, "at least \"1d\""),
            (
                "[revocation]",
                "[keys.pkcs11]\nmodule = \"x\"\ntoken_label = \"x\"\n[revocation]",
                9,
                "absolute",
            ),
            (
                "[revocation]",
                "[keys.pkcs11]\nmodule = \"/x\"\ntoken_label = \"\"\n[revocation]",
                9,
                "1 to 32",
            ),
            ("issuer.example\"", "issuer.example/../a\"", 1, "dots or braces"),
            ("issuer.example\"", "issuer.example/{tid}\"", 1, "dots or braces"),
            ("issuer.example\"", "issuer.example:99999\"", 1, "https URL"),
            (
                "deadline = \"10s\"",
                "deadline = \"none\"\nhead = \"ignore\"",
                9,
                "head has no effect",
            ),
            ("deadline = \"10s\"", "deadline = \"365d\"", 9, "at most 1d"),
            ("deadline = \"10s\"", "deadline = \"3s\"", 9, "at least \"9s\""),
            ("[revocation]", "[revocation]\nkeys = \"http\"", 9, "no effect"),
            ("[revocation]", "[keys]\noverlap = \"1h\"\n[revocation]", 9, "at least \"1h 10m\""),
            ("[revocation]", "[keys]\nrotation = \"1h\"\n[revocation]", 9, "longer than overlap"),
            ("[revocation]", "[status]\nbase_uri = \"x\"\n[revocation]", 10, "https URL"),
            ("deadline = \"10s\"", "max_list_age = \"1m\"", 9, "outlast the outage bound 1m 10s"),
            ("deadline = \"10s\"", "max_list_age = \"90s\"", 9, "a third of it"),
            ("deadline = \"10s\"", "shared_max_age = \"900ms\"", 9, "at least \"1s\""),
            ("[revocation]", "[[target]]\nkind = \"ftp\"\n[revocation]", 10, "unknown variant"),
            (
                "[revocation]",
                "[[target]]\nkind = \"s3\"\nbucket = \"b c\"\n[revocation]",
                9,
                "letters",
            ),
            (
                "[revocation]",
                "[[target]]\nkind = \"s3\"\nbucket = \"\"\n[revocation]",
                9,
                "letters",
            ),
            ("[revocation]", &s3("not a url"), 9, "http or https URL"),
            ("[revocation]", &s3(""), 9, "http or https URL"),
            ("[revocation]", &s3("ftp://s3.example"), 9, "http or https URL"),
            ("[revocation]", &s3("https://id:key@s3.example"), 9, "http or https URL"),
            ("[revocation]", &s3("https://s3.example:99999"), 9, "http or https URL"),
            ("[revocation]", &s3("https://s3%20.example"), 9, "http or https URL"),
            ("[revocation]", &s3("https://s3.example/?a=b"), 9, "http or https URL"),
            ("[revocation]", "[status]\nlist_capacity = 100\n[revocation]", 10, "from 1024 to"),
            ("[\"invoices:read\"]", "[]", 12, "at least one"),
            ("[\"invoices:read\"]", "[\"a b\"]", 12, "at least one"),
            ("roles = [\"reader\"]", "roles = [\"writer\"]", 17, "no role \"writer\""),
            ("sha256:", "plain:", 17, "client-secret"),
            ("secret_hash", "may = [\"suspend\"]\nsecret_hash", 17, "suspension = true"),
            ("https://api.example", " https://api.example", 12, "audience"),
            ("id = \"billing\"", "id = \"a:b\"", 17, "without ':'"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let mistakes = parse(&GOOD.replacen(from, to, 1)).err().expect(to);
            let [error] = mistakes.0.as_slice() else { panic!("{to}: {mistakes}") };
            assert!(error.to_string().contains(says), "{to}: {error}");
            assert_eq!(error.place.line, line, "{to}: {error}");
        }
    }
}

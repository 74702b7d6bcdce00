//! The issuer's configuration, `edgepass.toml`.

mod checks;
mod error;
mod written;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edgepass_status_list::Bits;
use edgepass_verify::policy::freshness::{FreshnessConfig, Schedule};
use toml::Spanned;

use self::checks::Lines;
pub use self::error::{ConfigError, Mistake};
use self::written::ConfigText;
pub use self::written::{is_s3_endpoint, is_s3_name};
use crate::keys::KeySchedule;
use crate::policy::IssuerPolicy;
use crate::publish::edition::LIST_LIFETIME;
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
        /// The URL of the service. Default: from the environment (`AWS_ENDPOINT_URL`), else
        /// Amazon's.
        endpoint: Option<String>,
        /// The region; `auto` for Cloudflare R2. Default: from the environment (`AWS_REGION`), else
        /// `us-east-1`.
        region: Option<String>,
    },
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
}

impl ListSchedule {
    /// The time, in seconds, after which the issuer signs a list again and extends the `exp` of the
    /// JWK Set: a third of [`ListSchedule::max_age`], so that a copy fetched just before then lasts
    /// through an outage. At most 30 minutes, which is also the time without a `max_age`.
    pub fn renew_after(&self) -> u64 {
        self.max_age.map_or(LIST_LIFETIME / 2, |age| (age / 3).clamp(1, LIST_LIFETIME / 2))
    }
}

/// A checked configuration.
pub struct Config {
    /// Issuer identifier, without a trailing slash.
    pub issuer: String,
    /// The address and port that `serve` listens on.
    pub listen: SocketAddr,
    /// The data directory, which holds the database.
    pub data_dir: PathBuf,
    /// The file with the master key. The variable `EDGEPASS_MASTER_KEY` takes precedence.
    pub master_key_file: Option<PathBuf>,
    /// The `typ` of access tokens.
    pub token_type: TokenType,
    /// `[revocation]` as written.
    pub freshness: FreshnessConfig,
    /// The time limits that `[revocation]` gives to verifiers.
    pub revocation: Schedule,
    /// The form of status lists and the schedule of their renewal.
    pub status: ListSchedule,
    /// The rules of automatic key changes.
    pub keys: KeySchedule,
    /// The targets, besides the issuer's own endpoint.
    pub targets: Vec<TargetConfig>,
    /// Roles and clients.
    pub policy: IssuerPolicy,
}

impl Config {
    /// Parses and checks the text of a file. Relative paths start at `base`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], the first that is found.
    ///
    /// # Example
    ///
    /// ```
    /// use std::path::Path;
    /// use edgepass_issuer::Config;
    ///
    /// let text = "issuer = \"https://issuer.example\"\nlisten = \"8787\"\ndata_dir = \"data\"\n";
    /// let error = Config::parse(text, Path::new("/etc/edgepass")).err().unwrap();
    /// assert_eq!(error.line, 2);
    /// assert!(error.to_string().contains("write an address and a port"));
    /// ```
    pub fn parse(text: &str, base: &Path) -> Result<Self, ConfigError> {
        let lines = Lines(text);
        let written: ConfigText = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            lines.mistake(offset, Mistake::Form(error.message().replace('\n', " ")))
        })?;
        let issuer = lines.check(written.issuer, checks::issuer)?;
        let listen =
            lines.check(written.listen, |text| text.parse().map_err(|_| Mistake::Listen))?;
        let revocation = written.revocation.unwrap_or_else(absent);
        let (freshness, schedule, max_list_age) = lines.check(revocation, checks::revocation)?;
        let capacity = lines.check(written.status.list_capacity, checks::list_capacity)?;
        let base_uri = match written.status.base_uri {
            None => issuer.clone(),
            Some(uri) => lines.check(uri, checks::base_uri)?,
        };

        let (mut roles, mut clients) = (Vec::new(), Vec::new());
        for role in written.roles {
            let role = lines.check(role, |role| checks::role(role, &written.tokens, &roles))?;
            roles.push(role);
        }
        for client in written.clients {
            let client = lines.check(client, |client| {
                checks::client(client, &roles, &clients, written.status.suspension)
            })?;
            clients.push(client);
        }
        let policy = IssuerPolicy { roles, clients };
        let longest = Duration::from_secs(policy.longest_lifetime());
        let keys = lines.check(written.keys.unwrap_or_else(absent), |keys| {
            checks::keys(&keys, longest, &freshness, &schedule)
        })?;

        let below = |path: PathBuf, name| {
            let is_empty = path.as_os_str().is_empty();
            if is_empty { Err(Mistake::EmptyPath(name)) } else { Ok(base.join(path)) }
        };
        let data_dir = lines.check(written.data_dir, |path| below(path, "data_dir"))?;
        let master_key_file = written.master_key_file.map(|file| {
            lines.check(file, |file| match below(file, "master_key_file")? {
                file if file.starts_with(&data_dir) => Err(Mistake::MasterKeyInDataDir),
                file => Ok(file),
            })
        });
        let targets = written.targets.into_iter();
        let targets = targets.map(|target| lines.check(target, |target| target.below(base)));
        Ok(Self {
            issuer,
            listen,
            master_key_file: master_key_file.transpose()?,
            data_dir,
            token_type: written.tokens.typ,
            freshness,
            revocation: schedule,
            status: ListSchedule {
                capacity,
                bits: checks::bits(written.status.suspension),
                base_uri,
                max_age: max_list_age.map(|age| age.as_secs()),
            },
            keys,
            targets: targets.collect::<Result<_, _>>()?,
            policy,
        })
    }

    /// The database file: `edgepass.db` in the data directory.
    pub fn database(&self) -> PathBuf {
        self.data_dir.join("edgepass.db")
    }
}

/// The defaults of a table that the file lacks. A mistake in them would be reported in line 1.
fn absent<T: Default>() -> Spanned<T> {
    Spanned::new(0..0, T::default())
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

    fn parse(text: &str) -> Result<Config, ConfigError> {
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
            ("issuer.example\"", "issuer.example/../a\"", 1, "dots or braces"),
            ("issuer.example\"", "issuer.example/{tid}\"", 1, "dots or braces"),
            ("issuer.example\"", "issuer.example:99999\"", 1, "https URL"),
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
            let error = parse(&GOOD.replacen(from, to, 1)).err().expect(to);
            assert!(error.to_string().contains(says), "{to}: {error}");
            assert_eq!(error.line, line, "{to}: {error}");
        }
    }
}

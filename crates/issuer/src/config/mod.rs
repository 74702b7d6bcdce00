//! `edgepass.toml`: as written, then checked.

mod written;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edgepass_jose::Scope;
use edgepass_status_list::Bits;
use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::policy::freshness::{DEFAULT_MAX_LIST_AGE, FreshnessConfig, Schedule};
use toml::Spanned;

use self::written::{ClientText, ConfigText, KeysText, RoleText, TokensText};
use crate::client_secret::SecretHash;
use crate::keys::KeySchedule;
use crate::policy::{Client, IssuerPolicy, Role};
use crate::publish::document::MAX_AGE;
use crate::publish::edition::LIST_LIFETIME;

/// The longest lifetime that any role may have: verifiers refuse more by default.
pub const LIFETIME_CAP: Duration = Duration::from_secs(24 * 60 * 60);

const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
/// Verifiers' leeway of at most five minutes, and as much again for clocks and restarts; in seconds.
const OVERLAP_MARGIN: u64 = 10 * 60;

/// How many statuses a list may hold: enough that an index tells nothing, and no more than verifiers
/// inflate by default.
pub const LIST_CAPACITIES: RangeInclusive<u32> = 1024..=1 << 22;

/// Where documents are published besides the issuer's own endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TargetConfig {
    /// A directory that something else serves.
    Directory {
        /// The folder; it is made when it does not exist.
        path: PathBuf,
    },
    /// An S3-compatible bucket. Its credentials come from the environment.
    S3 {
        /// Its name.
        bucket: String,
        /// The service's URL, where it is not Amazon's.
        endpoint: Option<String>,
        /// Its region; `auto` for R2.
        region: Option<String>,
    },
}

/// How status lists are made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListSchedule {
    /// How many tokens' statuses a list holds.
    pub capacity: u32,
    /// How many bits each takes: two where tokens can be suspended.
    pub bits: Bits,
    /// What their URIs begin with, without a trailing slash.
    pub base_uri: String,
    /// How old the signed date of a list may be, for verifiers; the JWK Set says it of itself. In seconds.
    /// `None`: as old as its `exp` says.
    pub max_age: Option<u64>,
}

impl ListSchedule {
    /// After so many seconds a document is signed or dated anew: with a third of its time, so that one that
    /// was fetched just before outlives an outage.
    pub fn renew_after(&self) -> u64 {
        self.max_age.map_or(LIST_LIFETIME / 2, |age| (age / 3).clamp(1, LIST_LIFETIME / 2))
    }
}

/// A configuration that cannot be wrong.
pub struct Config {
    /// Issuer identifier.
    pub issuer: String,
    /// Where `serve` listens.
    pub listen: SocketAddr,
    /// Data directory.
    pub data_dir: PathBuf,
    /// File with the master key.
    pub master_key_file: Option<PathBuf>,
    /// The revocation deadline and its terms, as written.
    pub freshness: FreshnessConfig,
    /// The same, checked.
    pub revocation: Schedule,
    /// How status lists are made.
    pub status: ListSchedule,
    /// When keys change.
    pub keys: KeySchedule,
    /// Where documents are published besides the issuer's own endpoint.
    pub targets: Vec<TargetConfig>,
    /// Roles and clients.
    pub policy: IssuerPolicy,
}

/// What is wrong with a configuration, where, and what to write instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ConfigError {
    /// Line in the file, from 1.
    pub line: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Config {
    /// Parse and check a file's text. Relative paths are taken from `base`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], the first that is found.
    pub fn parse(text: &str, base: &Path) -> Result<Self, ConfigError> {
        let line_of = |offset: usize| 1 + text.bytes().take(offset).filter(|b| *b == b'\n').count();
        let written: ConfigText = toml::from_str(text).map_err(|error| ConfigError {
            line: line_of(error.span().map_or(0, |span| span.start)),
            message: error.message().replace('\n', " "),
        })?;
        let at = |span: std::ops::Range<usize>, message: String| ConfigError {
            line: line_of(span.start),
            message,
        };

        let issuer_span = written.issuer.span();
        let issuer = checked_issuer(written.issuer.into_inner())
            .map_err(|message| at(issuer_span, message.to_owned()))?;
        let listen_span = written.listen.span();
        let listen = written.listen.get_ref().parse().map_err(|_| {
            at(listen_span, "listen: write an address and a port, \"127.0.0.1:8787\"".to_owned())
        })?;
        let revocation_span = written.revocation.as_ref().map_or(0..0, Spanned::span);
        let freshness = written.revocation.map(Spanned::into_inner).unwrap_or_default();
        let revocation = freshness
            .check()
            .map_err(|error| at(revocation_span.clone(), format!("[revocation] {error}")))?;

        if revocation.deadline().is_some() && freshness.shared_max_age.0 < MAX_AGE {
            let message = "[revocation] shared_max_age is at least \"1s\": documents are served with \
                           max-age=1";
            return Err(at(revocation_span, message.to_owned()));
        }
        let default = revocation.deadline().map(|_| DEFAULT_MAX_LIST_AGE);
        let max_age = freshness
            .list_age(&revocation, default)
            .map_err(|error| at(revocation_span.clone(), format!("[revocation] {error}")))?;
        let capacity = *written.status.list_capacity.get_ref();
        if !LIST_CAPACITIES.contains(&capacity) {
            let (least, most) = (LIST_CAPACITIES.start(), LIST_CAPACITIES.end());
            let message = format!("list_capacity is from {least} to {most}");
            return Err(at(written.status.list_capacity.span(), message));
        }
        let bits = if written.status.suspension { Bits::Two } else { Bits::One };
        let base_uri = match written.status.base_uri {
            None => issuer.clone(),
            Some(uri) => {
                let span = uri.span();
                let uri = checked_issuer(uri.into_inner());
                uri.map_err(|_| at(span, BASE_URI.to_owned()))?
            }
        };

        let mut roles: Vec<Role> = Vec::new();
        for role in written.roles {
            let span = role.span();
            let role = checked_role(role.into_inner(), &written.tokens, &roles)
                .map_err(|message| at(span, message))?;
            roles.push(role);
        }
        let mut clients: Vec<Client> = Vec::new();
        for client in written.clients {
            let span = client.span();
            let client = checked_client(client.into_inner(), &roles, &clients)
                .map_err(|message| at(span, message))?;
            clients.push(client);
        }

        let policy = IssuerPolicy { roles, clients };
        let keys_span = written.keys.as_ref().map_or(0..0, Spanned::span);
        let keys = written.keys.map(Spanned::into_inner).unwrap_or_default();
        let keys = checked_keys(&keys, policy.longest_lifetime(), &freshness, &revocation)
            .map_err(|message| at(keys_span, message))?;

        // A path that does not begin at the root begins at the file's folder.
        let below = |path: Spanned<PathBuf>, name: &str| {
            let span = path.span();
            let path = path.into_inner();
            if path.as_os_str().is_empty() {
                return Err(at(span, format!("{name}: write a path")));
            }
            Ok((base.join(path), span))
        };
        let (data_dir, _) = below(written.data_dir, "data_dir")?;
        let master_key_file = written.master_key_file.map(|file| below(file, "master_key_file"));
        let master_key_file = match master_key_file.transpose()? {
            Some((file, span)) if file.starts_with(&data_dir) => {
                let message = "master_key_file must lie outside data_dir: a copy of the data must \
                               not carry its key";
                return Err(at(span, message.to_owned()));
            }
            file => file.map(|(file, _)| file),
        };
        let mut targets = Vec::new();
        for target in written.targets {
            let span = target.span();
            let target = target.into_inner().below(base);
            targets.push(target.map_err(|message| at(span, message.to_owned()))?);
        }
        Ok(Self {
            issuer,
            listen,
            data_dir,
            master_key_file,
            freshness,
            revocation,
            status: ListSchedule {
                capacity,
                bits,
                base_uri,
                max_age: max_age.map(|age| age.as_secs()),
            },
            keys,
            targets,
            policy,
        })
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.data_dir.join("edgepass.db")
    }
}

fn checked_issuer(issuer: String) -> Result<String, &'static str> {
    const MESSAGE: &str = "issuer: write an https URL without query or fragment and without a \
                           trailing slash, \"https://issuer.example\" (http only on loopback)";
    let accepted = edgepass_verify::policy::is_issuer_url(&issuer);
    if accepted && !issuer.ends_with('/') { Ok(issuer) } else { Err(MESSAGE) }
}

const BASE_URI: &str = "base_uri: write an https URL without a trailing slash, \
                        \"https://status.example\"";

fn checked_keys(
    keys: &KeysText,
    longest_lifetime: u64,
    freshness: &FreshnessConfig,
    revocation: &Schedule,
) -> Result<KeySchedule, String> {
    let least = Duration::from_secs(longest_lifetime + OVERLAP_MARGIN);
    if keys.overlap.0 < least {
        let (overlap, least) = (keys.overlap, DurationText(least));
        return Err(format!(
            "[keys] overlap {overlap} is shorter than tokens live: a key must stay published until \
             its last token has expired; raise it to at least \"{least}\" or lower max_lifetime"
        ));
    }
    if keys.rotation.0 <= keys.overlap.0 {
        let (rotation, overlap) = (keys.rotation, keys.overlap);
        return Err(format!(
            "[keys] rotation {rotation} must be longer than overlap {overlap}: keys would come \
             faster than they go"
        ));
    }
    // Where lists have no deadline, verifiers ask for keys by the default one all the same.
    let settling = revocation.deadline().unwrap_or(DEFAULT_DEADLINE).as_secs();
    Ok(KeySchedule {
        rotation: keys.rotation.0.as_secs(),
        overlap: keys.overlap.0.as_secs(),
        settling,
        caches: freshness.shared_max_age.0.saturating_add(freshness.publish_delay.0),
    })
}

fn checked_role(role: RoleText, tokens: &TokensText, before: &[Role]) -> Result<Role, String> {
    let name = role.name;
    if name.is_empty() || before.iter().any(|other| other.name == name) {
        return Err("role: every role needs a name of its own".into());
    }
    if role.audience.is_empty() {
        return Err(format!("role {name}: write the audience, the URL of the guarded API"));
    }
    let scope = Scope::try_from(role.scopes)
        .ok()
        .filter(|scope| !scope.is_empty())
        .ok_or_else(|| format!("role {name}: scopes: write at least one, [\"invoices:read\"]"))?;
    let max_lifetime = role.max_lifetime.unwrap_or(tokens.max_lifetime);
    if max_lifetime.0 > LIFETIME_CAP || max_lifetime.0 < Duration::from_secs(1) {
        let cap = DurationText(LIFETIME_CAP);
        return Err(format!("role {name}: max_lifetime is from \"1s\" to \"{cap}\""));
    }
    let lifetime =
        role.lifetime.unwrap_or_else(|| DurationText(tokens.lifetime.0.min(max_lifetime.0)));
    if lifetime.0 > max_lifetime.0 || lifetime.0 < Duration::from_secs(1) {
        return Err(format!("role {name}: lifetime is from \"1s\" to \"{max_lifetime}\""));
    }
    Ok(Role {
        name,
        audience: role.audience,
        scope,
        lifetime: lifetime.0.as_secs(),
        max_lifetime: max_lifetime.0.as_secs(),
    })
}

fn checked_client(client: ClientText, roles: &[Role], before: &[Client]) -> Result<Client, String> {
    let id = client.id;
    // RFC 6749 appendix A.1: VSCHAR; a colon would end the user name of HTTP Basic.
    let printable = id.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b':');
    if id.is_empty() || !printable || before.iter().any(|other| other.id == id) {
        return Err("client: every client needs an id of its own, visible ASCII without ':'".into());
    }
    if client.roles.is_empty() {
        return Err(format!("client {id}: roles: name at least one role"));
    }
    if let Some(unknown) = client.roles.iter().find(|name| roles.iter().all(|r| r.name != **name)) {
        return Err(format!("client {id}: there is no role {unknown:?}; add a [[role]] first"));
    }
    let secret = SecretHash::parse(&client.secret_hash)
        .map_err(|error| format!("client {id}: secret_hash: {error}"))?;
    Ok(Client { id, roles: client.roles, may: client.may, secret })
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
    }

    #[test]
    fn every_mistake_names_its_line_and_what_to_write() {
        for (from, to, line, says) in [
            ("issuer = \"https", "issuer = \"ftp", 1, "https URL"),
            ("issuer.example\"", "issuer.example/\"", 1, "trailing slash"),
            ("127.0.0.1:8787", "8787", 2, "\"127.0.0.1:8787\""),
            ("data_dir", "datadir", 3, "unknown field"),
            ("\"master.key\"", "\"data/master.key\"", 4, "outside data_dir"),
            ("\"10m\"", "10", 7, "\"10s\""),
            ("\"10m\"", "\"10\"", 7, "\"10s\""),
            ("\"10m\"", "\"2h\"\nmax_lifetime = \"48h\"", 13, "from \"1s\" to \"1day\""),
            ("deadline = \"10s\"", "deadline = \"3s\"", 9, "at least \"9s\""),
            ("[revocation]", "[keys]\noverlap = \"1h\"\n[revocation]", 9, "at least \"1h 10m\""),
            ("[revocation]", "[keys]\nrotation = \"1h\"\n[revocation]", 9, "longer than overlap"),
            ("[revocation]", "[status]\nbase_uri = \"x\"\n[revocation]", 10, "https URL"),
            (
                "deadline = \"10s\"",
                "max_list_age = \"1m\"",
                9,
                "shorter than the outage bound 1m 10s",
            ),
            ("deadline = \"10s\"", "max_list_age = \"90s\"", 9, "a third of it"),
            ("deadline = \"10s\"", "shared_max_age = \"900ms\"", 9, "at least \"1s\""),
            ("[revocation]", "[[target]]\nkind = \"ftp\"\n[revocation]", 10, "unknown variant"),
            ("[revocation]", "[status]\nlist_capacity = 100\n[revocation]", 10, "from 1024 to"),
            ("[\"invoices:read\"]", "[]", 12, "at least one"),
            ("[\"invoices:read\"]", "[\"a b\"]", 12, "at least one"),
            ("roles = [\"reader\"]", "roles = [\"writer\"]", 17, "no role \"writer\""),
            ("sha256:", "plain:", 17, "client-secret"),
            ("id = \"billing\"", "id = \"a:b\"", 17, "without ':'"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = parse(&GOOD.replacen(from, to, 1)).err().expect(to);
            assert!(error.message.contains(says), "{to}: {error}");
            assert_eq!(error.line, line, "{to}: {error}");
        }
    }
}

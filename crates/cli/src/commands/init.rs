//! `edgepass init`.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::builder::PossibleValuesParser;
use edgepass_issuer::audit::{Act, AuditEntry};
use edgepass_issuer::client::secret::ClientSecret;
use edgepass_issuer::entropy::Entropy;
use edgepass_issuer::issue::IssuedToken;
use edgepass_issuer::order::TokenOrder;
use edgepass_issuer::policy::{Role, SenderConstraint, operator_scopes};
use edgepass_issuer::seal::MasterKey;
use edgepass_issuer::signing_key::{KeyState, SealedKey};
use edgepass_issuer::storage::{KeyChange, KeyStore};
use edgepass_issuer::vault::Vault;
use edgepass_issuer::{Config, Issuer};
use serde_json::json;

use super::database;
use super::source::Source;
use crate::exit::Exit;
use crate::host::{self, OsEntropy};
use crate::{master_key, output, private, vault};

const LISTEN: &str = "127.0.0.1:8787";
const AUDIENCE: &str = "https://api.example";
const ALGORITHM: &str = "EdDSA";

#[derive(clap::Args)]
pub(super) struct Args {
    /// Directory in which to create the issuer.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Issuer identifier: the `iss` of every token and the base of every published URL. Default, on a
    /// loopback address: http:// followed by the address of --listen.
    #[arg(long)]
    issuer: Option<String>,
    /// Address and port to write to the configuration, on which `serve` will listen.
    #[arg(long, default_value = LISTEN)]
    listen: String,
    /// Audience of the example role: the URL of the guarded API.
    #[arg(long, default_value = AUDIENCE)]
    audience: String,
    /// Algorithm of the signing keys. docs/readers.md says which libraries verify which.
    #[arg(long, default_value = ALGORITHM)]
    #[arg(value_parser = PossibleValuesParser::new(["EdDSA", "ES256", "RS256"]))]
    algorithm: String,
    /// Also print a token for /admin/v1, once, valid for 15 minutes: for a first operator elsewhere.
    #[arg(long)]
    bootstrap: bool,
}

/// The longest lifetime of the first operator's token, in seconds.
const BOOTSTRAP_LIFETIME: u64 = 15 * 60;
const CLIENT_ID: &str = "example-service";

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    source.refuse_server()?;
    // A configuration that was named exists already; without a name, a new one is written.
    if source.is_named() {
        let decides = args.dir == Path::new(".")
            && args.issuer.is_none()
            && (args.listen.as_str(), args.audience.as_str(), args.algorithm.as_str())
                == (LISTEN, AUDIENCE, ALGORITHM);
        if !decides {
            bail!(
                "a configuration is named (--config or EDGEPASS_CONFIG), and decides: leave the directory, --issuer, --listen, --audience and --algorithm out"
            );
        }
        return init_existing(source, args.bootstrap, json).await;
    }
    let config_file = args.dir.join("edgepass.toml");
    if config_file.exists() {
        bail!("{} already exists; init never overwrites", config_file.display());
    }
    let is_loopback = args.listen.parse().is_ok_and(|own: SocketAddr| own.ip().is_loopback());
    if args.issuer.is_none() && !is_loopback {
        bail!("pass --issuer, the https URL by which clients reach {}", args.listen);
    }
    let issuer = args.issuer.unwrap_or_else(|| format!("http://{}", args.listen));
    // In the template they stand between quotes.
    for (option, value) in
        [("--issuer", &issuer), ("--listen", &args.listen), ("--audience", &args.audience)]
    {
        if value.contains(|char: char| char.is_control() || ['"', '\\'].contains(&char)) {
            bail!("{option} must not contain quotes, backslashes or control characters");
        }
    }
    let mut entropy = OsEntropy;
    let secret = ClientSecret::generate(&mut entropy)?;
    let tls = if is_loopback { "" } else { BY_PROXY };
    let text = TEMPLATE
        .replace("{tls}", tls)
        .replace("{issuer}", &issuer)
        .replace("{listen}", &args.listen)
        .replace("{audience}", &args.audience)
        .replace("{algorithm}", &args.algorithm)
        .replace("{secret_hash}", &secret.hash(&mut entropy)?.to_string());
    // Checked with the rules of `serve`, before any file is written.
    let mut config = Config::parse(&text, &args.dir)
        .with_context(|| "the arguments give no valid configuration".to_owned())?;
    config.database_url = database::from_environment()?;
    fs::create_dir_all(&args.dir)
        .with_context(|| format!("{} cannot be created", args.dir.display()))?;

    let from_environment = std::env::var(master_key::VARIABLE).is_ok();
    let master = if from_environment {
        master_key::load(&config)?
    } else {
        MasterKey::new(entropy.bytes()?)
    };
    private::folder(&config.data_dir)?;
    // Keeps keys and records out of Git repositories. The names are those of the template.
    let ignore = args.dir.join(".gitignore");
    if !ignore.exists() {
        write_new(&ignore, "/data/\n/master.key\n")?;
    }
    if database::exists(&config).await? {
        bail!("{} already exists; init never overwrites", database::shown(&config)?);
    }
    if let (false, Some(file)) = (from_environment, &config.master_key_file) {
        master_key::create(file, &master)?;
    }
    let vault = vault::with(master, &config)?;
    let key_ids = create_keys(&config, &vault, &mut entropy).await?;
    write_new(&config_file, &text)?;
    let token = match args.bootstrap {
        true => Some(bootstrap_token(&config, vault).await?.token),
        false => None,
    };
    if json {
        let mut made = json!({
            "config": config_file,
            "issuer": config.issuer,
            "key_ids": key_ids,
            "client_id": CLIENT_ID,
            "client_secret": secret.reveal(),
        });
        if let (Some(token), Some(members)) = (token, made.as_object_mut()) {
            members.insert("bootstrap_token".to_owned(), token.into());
        }
        output::json(&made)?;
        return Ok(Exit::Ok);
    }
    output::line(&format!("created an issuer in {}", args.dir.display()))?;
    output::line(&format!("  configuration  {}", config_file.display()))?;
    output::line(&format!("  signing key    {}", key_ids[0]))?;
    output::line(&format!("  standby key    {}", key_ids[1]))?;
    if let (false, Some(file)) = (from_environment, &config.master_key_file) {
        output::line(&format!(
            "  master key     {} (back it up separately from the data)",
            file.display()
        ))?;
    }
    output::line(&format!("  client         {CLIENT_ID}"))?;
    output::line(&format!("  client secret  {} (shown once)", secret.reveal()))?;
    tell_bootstrap(token.as_deref(), &config.issuer)?;
    output::line(&format!("next: edgepass serve --config {}", config_file.display()))?;
    Ok(Exit::Ok)
}

fn tell_bootstrap(token: Option<&str>, issuer: &str) -> anyhow::Result<()> {
    let Some(token) = token else { return Ok(()) };
    output::line(&format!(
        "  operator token {token}\n                 (shown once, valid for at most 15 minutes, for --server {issuer})"
    ))
}

/// The role of the first operator: one that may operate the issuer, without a key or a certificate.
fn operator_role(config: &Config) -> anyhow::Result<&Role> {
    let operates = |role: &&Role| {
        role.audiences == [config.issuer.clone()]
            && role.scope.iter().any(|scope| scope == operator_scopes::OPERATE)
            && role.sender == SenderConstraint::None
    };
    config.policy.roles.iter().find(operates).with_context(|| {
        format!(
            "--bootstrap needs a role with the audience {}, the scope {} and no sender constraint",
            config.issuer,
            operator_scopes::OPERATE
        )
    })
}

/// A token for `/admin/v1`, so that a first operator needs no password. Later ones come from a client or a
/// federation with that role, or from the issuer's machine.
async fn bootstrap_token(config: &Config, vault: Vault) -> anyhow::Result<IssuedToken> {
    let store = Arc::new(super::open_store(config).await?);
    let issuer = Issuer::open(store, config, vault, &super::policy_user()).await?;
    let role = operator_role(config)?;
    let order = TokenOrder {
        role: Some(role.name.clone()),
        sub: Some("bootstrap".to_owned()),
        lifetime: Some(role.max_lifetime.min(BOOTSTRAP_LIFETIME)),
        ..TokenOrder::default()
    };
    let order = issuer.grant_order(order, &super::actor(), host::now()).await?;
    let issued = issuer.issue_order(&order, &mut OsEntropy, host::now()).await?;
    issuer.store().close().await;
    Ok(issued)
}

/// Creates the database and the keys for an existing configuration: those of the named environment, or
/// of all that have none. Creates the master key file if no environment has a database.
async fn init_existing(source: &Source, bootstrap: bool, json: bool) -> anyhow::Result<Exit> {
    let all = source.all()?.environments;
    let mut is_new = true;
    for config in &all {
        is_new &= !database::exists(config).await?;
    }
    let wanted = match &source.environment {
        Some(_) => vec![source.load()?],
        None => all,
    };
    let known = wanted.first().map(database::shown).transpose()?;
    let mut missing = Vec::new();
    for config in wanted {
        if !database::exists(&config).await? {
            missing.push(config);
        }
    }
    if let (true, Some(database)) = (missing.is_empty(), known) {
        let hint = match bootstrap {
            true => {
                "; `edgepass issue --role edgepass-operator --subject NAME` prints a token for an operator"
            }
            false => "",
        };
        bail!("{database} already exists; init never overwrites{hint}");
    }
    if bootstrap {
        let [config] = missing.as_slice() else {
            bail!("--bootstrap makes a token for one environment: name it with --environment");
        };
        operator_role(config)?;
    }
    for config in &missing {
        let from_environment = std::env::var(master_key::VARIABLE).is_ok();
        if let (true, false, Some(file)) = (is_new, from_environment, &config.master_key_file)
            && !file.exists()
        {
            master_key::create(file, &MasterKey::new(OsEntropy.bytes()?))?;
        }
        let vault = vault::load(config)?;
        private::folder(&config.data_dir)?;
        private::keep(config)?;
        keep_out_of_git(config, &source.base())?;
        let key_ids = create_keys(config, &vault, &mut OsEntropy).await?;
        let token = match bootstrap {
            true => Some(bootstrap_token(config, vault).await?.token),
            false => None,
        };
        if json {
            output::json(&json!({
                "environment": config.environment, "issuer": config.issuer, "key_ids": key_ids,
                "bootstrap_token": token,
            }))?;
            continue;
        }
        let of = config.environment.as_ref().map(|name| format!("the environment {name}, "));
        output::line(&format!("created {}issuer {}", of.unwrap_or_default(), config.issuer))?;
        output::line(&format!("  signing key    {}", key_ids[0]))?;
        output::line(&format!("  standby key    {}", key_ids[1]))?;
        tell_bootstrap(token.as_deref(), &config.issuer)?;
    }
    if !json {
        output::line("`edgepass serve` serves it from its next start on")?;
    }
    Ok(Exit::Ok)
}

/// Keeps keys and records that are in the folder of the configuration out of Git repositories, unless somebody has
/// written what to ignore.
fn keep_out_of_git(config: &Config, base: &Path) -> anyhow::Result<()> {
    let ignore = base.join(".gitignore");
    if ignore.exists() {
        return Ok(());
    }
    let data = match &config.environment {
        None => config.data_dir.as_path(),
        Some(_) => config.data_dir.parent().unwrap_or(&config.data_dir),
    };
    let mut lines = String::new();
    for (path, is_folder) in [(Some(data), true), (config.master_key_file.as_deref(), false)] {
        if let Some(inside) = path.and_then(|path| path.strip_prefix(base).ok()) {
            let end = if is_folder { "/" } else { "" };
            lines.push_str(&format!("/{}{end}\n", inside.display()));
        }
    }
    if lines.is_empty() { Ok(()) } else { write_new(&ignore, &lines) }
}

async fn create_keys(
    config: &Config,
    vault: &Vault,
    entropy: &mut OsEntropy,
) -> anyhow::Result<[String; 2]> {
    let store = database::create(config).await?;
    let now = host::now();
    let seconds = now.numeric_date().seconds();
    let algorithm = config.keys.algorithm;
    let keys = [
        SealedKey::generate(algorithm, KeyState::Signing, vault, entropy, seconds)?,
        SealedKey::generate(algorithm, KeyState::Standby, vault, entropy, seconds)?,
    ];
    let key_ids = keys.each_ref().map(|key| key.key_id.clone());
    let act = Act::KeysCreated { key_ids: key_ids.to_vec() };
    let policy = Some(super::record_policy(config, &store).await?.number());
    let entry = AuditEntry { at_ms: now.0, actor: super::actor(), policy, act };
    let change = KeyChange { seen: 0, now: seconds, states: Vec::new(), new: keys.to_vec() };
    if !store.change_keys(&change, &entry).await? {
        bail!("{} already contains keys; init never overwrites", database::shown(config)?);
    }
    store.close().await;
    Ok(key_ids)
}

fn write_new(file: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        let mut output = fs::OpenOptions::new().write(true).create_new(true).open(file)?;
        output.write_all(text.as_bytes())?;
        output.sync_all()
    };
    write().with_context(|| format!("{} cannot be created", file.display()))
}

/// For an address that is not loopback.
const BY_PROXY: &str = r#"# A proxy in front terminates TLS. Without one, write certificate and key, both files in PEM.
tls = { by_proxy = true }

"#;

const TEMPLATE: &str = r#"# Edgepass issuer. Durations are strings with a unit: "10s", "10m", "1h".

# Issuer identifier: the `iss` of every token and the base of every published URL. https, except on
# loopback. After a change, verifiers refuse every token issued before.
issuer = "{issuer}"

# Where `edgepass serve` listens. On another address than loopback, [tls] is needed.
listen = "{listen}"

{tls}# Directory for records, audit trail and sealed keys. Relative to this file.
data_dir = "data"

# Instead of a file in data_dir, tables on a PostgreSQL server. EDGEPASS_DATABASE_URL takes precedence.
# database = "postgres://edgepass@db.example/edgepass?sslmode=verify-full"

# Key that decrypts the sealed signing keys. Keep it outside data_dir with mode 0600, and back it up
# separately. The environment variable EDGEPASS_MASTER_KEY takes precedence.
master_key_file = "master.key"

[tokens]
typ = "at+jwt"       # "at+jwt", or "JWT" for verifiers that accept no other
lifetime = "10m"     # unless the request or the role sets another
max_lifetime = "1h"  # unless the role sets another; at most "24h"

# The revocation deadline: the longest time from the return of `revoke` to the last acceptance of the
# token by a verifier that can reach this issuer. At least the sum of the other four values, which
# verifiers must use as well.
[revocation]
deadline = "10s"
publish_delay = "500ms"   # from the revocation to the served list
shared_max_age = "1s"     # longest time that shared caches may serve a copy
refresh_interval = "5s"   # how often verifiers revalidate while there is traffic
fetch_timeout = "2500ms"  # longest time for one fetch by a verifier

# Status lists say which tokens are revoked. Both settings apply to new lists only.
[status]
list_capacity = 131072    # tokens per list; larger lists are fewer, but take longer to fetch
suspension = false        # true: two bits per token, so that tokens can be suspended and resumed

# Signing keys. `edgepass keys rotate` rotates early; `edgepass keys compromise` withdraws a key.
[keys]
algorithm = "{algorithm}"  # of new keys: "EdDSA", "ES256" or "RS256"
rotation = "30days"  # how long a key signs
overlap = "25h"      # how long it stays published afterwards; longer than any token lives

# Documents can also be published to a directory or an S3-compatible bucket, in addition to this
# issuer's own endpoint (credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY):
# [[target]]
# kind = "s3"
# bucket = "status"
# endpoint = "https://ACCOUNT.r2.cloudflarestorage.com"
# region = "auto"

# A role: one audience, scopes and a longest lifetime. No token gets more than its role allows.
[[role]]
name = "invoice-reader"
audience = "{audience}"  # the URL of the guarded API
scopes = ["invoices:read"]

[[role]]
name = "invoice-clerk"
audience = "{audience}"
scopes = ["invoices:read", "invoices:write"]
max_lifetime = "30m"

# Roles whose audience is this issuer: their tokens may use /admin/v1, as far as their scopes reach.
# edgepass:read lists tokens, keys and clients, edgepass:audit reads the audit trail, edgepass:operate
# issues and revokes tokens and changes keys.
[[role]]
name = "edgepass-reader"
audience = "{issuer}"
scopes = ["edgepass:read"]
max_lifetime = "15m"

[[role]]
name = "edgepass-auditor"
audience = "{issuer}"
scopes = ["edgepass:read", "edgepass:audit"]
max_lifetime = "15m"

[[role]]
name = "edgepass-operator"
audience = "{issuer}"
scopes = ["edgepass:read", "edgepass:audit", "edgepass:operate"]
max_lifetime = "15m"

# A role for guards that report how tokens are used: docs/usage.md. Give each guard a client:
# `edgepass client add GUARD --role edgepass-guard --reports-use-of "{audience}"`.
[[role]]
name = "edgepass-guard"
audience = "{issuer}"
scopes = ["edgepass:usage"]

# An OAuth client and the roles it may use; the first is its default. `edgepass client-secret`
# generates another secret. With may = ["revoke", "suspend", "resume"], or some of these, the client
# may also do so to tokens of other clients, at /status-acts.
[[client]]
id = "example-service"
roles = ["invoice-reader", "invoice-clerk"]
secret_hash = "{secret_hash}"
"#;

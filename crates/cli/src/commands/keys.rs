//! `edgepass keys`.

use comfy_table::{Table, presets};
use edgepass_issuer::key_change::{KeyChangeError, compromise, rotate};
use edgepass_issuer::storage::KeyStore;
use edgepass_issuer::{Config, Issuer};
use edgepass_server::admin::keys::{Compromise, are_settled};
use edgepass_server::admin::view;
use edgepass_store::AnyStore;
use serde_json::{Value, json};

use super::examples;
use super::published::{self, Published};
use super::rewrap;
use super::source::Source;
use crate::exit::{Exit, Failure};
use crate::host::{self, OsEntropy};
use crate::output;
use crate::remote::Remote;

/// Subcommands of `edgepass keys`. They concern keys, not statuses.
#[derive(clap::Subcommand)]
pub(super) enum Act {
    /// List all keys, withdrawn ones too, with state and dates.
    #[command(after_help = examples::KEYS_LIST)]
    List,
    /// Make the standby key sign, and create a new standby key. Refused until the standby key has
    /// been published for one deadline, and for 30 s: verifiers of other people ask no sooner.
    #[command(after_help = examples::KEYS_ROTATE)]
    Rotate,
    /// Withdraw a compromised key. Another key signs every list. Once no cache holds earlier lists,
    /// the key leaves the JWK Set; within the deadline, verifiers then refuse the tokens that it
    /// signed. Verifiers of other people refuse them when their copy of the JWK Set ends, which may
    /// take hours.
    #[command(after_help = examples::KEYS_COMPROMISE)]
    Compromise {
        /// The key's `kid`, as listed by `edgepass keys list`.
        #[arg(value_name = "KID", allow_hyphen_values = true)]
        id: String,
        /// Reason, for the audit trail.
        #[arg(long, default_value = "", allow_hyphen_values = true)]
        reason: String,
    },
    /// Seal the private keys with another master key, those of all environments.
    #[command(after_help = rewrap::EXAMPLES)]
    Rewrap(rewrap::Args),
}

pub(super) async fn run(act: Act, source: &Source, json: bool) -> anyhow::Result<Exit> {
    if let Act::Rewrap(args) = &act {
        return rewrap::run(args, source, json).await;
    }
    if let Some(remote) = source.remote()? {
        return run_remote(act, &remote, json).await;
    }
    let config = source.load()?;
    if let Act::List = act {
        let store = super::open_store(&config).await?;
        let keys = store.keys().await?.keys;
        return list(keys.iter().map(view::key).collect(), json);
    }
    let issuer = super::open_issuer(&config, &super::policy_user()).await?;
    let (actor, now) = (super::actor(), host::now());
    let (changed, what) = match &act {
        Act::Compromise { id, reason } => {
            match compromise(&issuer, id, reason, &actor, now).await {
                // A repeated command only waits until the key has left the published JWK Set.
                Err(KeyChangeError::AlreadyWithdrawn) => (None, "the key was already withdrawn"),
                changed => (Some(changed.map_err(failed)?), "the key is withdrawn"),
            }
        }
        Act::List | Act::Rotate | Act::Rewrap(_) => {
            let changed = rotate(&issuer, &mut OsEntropy, &actor, now).await.map_err(failed)?;
            (Some(changed), "rotated")
        }
    };
    issuer.reload_keys().await?;
    let signing = issuer.keys().signing_key_id().to_owned();
    let published = is_settled(&issuer, &config).await?;
    let is_settled = changed.is_none_or(|changed| changed.is_settled);
    tell(&signing, is_settled, what, published, json)
}

/// Waits up to 5 s until the published JWK Set has every key that belongs to it, and no compromised
/// one.
async fn is_settled(issuer: &Issuer<AnyStore>, config: &Config) -> anyhow::Result<Published> {
    let store = issuer.store();
    published::wait_until(config, store, async || Ok(are_settled(&store.keys().await?.keys))).await
}

fn tell(
    signing: &str,
    is_settled: bool,
    what: &str,
    published: Published,
    json: bool,
) -> anyhow::Result<Exit> {
    let is_published = published == Published::Everywhere;
    let mut text = if is_published {
        format!("{what}; key {signing} signs now")
    } else {
        format!("{what}: {}", published.says())
    };
    if !is_settled {
        text.push_str(&format!(
            "\nkey {signing} was published only recently: a verifier that does not hold it yet refuses its \
             tokens until it fetches the JWK Set again; verifiers of other people may wait 30 s or more"
        ));
    }
    if json {
        output::json(&json!({
            "signing": signing,
            "published": is_published,
            "settled": is_settled,
            "message": text,
        }))?;
    } else {
        output::line(&text)?;
    }
    Ok(if is_published { Exit::Ok } else { Exit::Unavailable })
}

fn list(keys: Vec<Value>, json: bool) -> anyhow::Result<Exit> {
    if json {
        output::json(&Value::Array(keys))?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "KID",
        "ALG",
        "STATE",
        "CREATED",
        "PUBLISHED",
        "SIGNS SINCE",
        "RETIRES",
        "DEVICE",
    ]);
    let members = ["kid", "alg", "use", "created_at", "published_at", "signs_since", "retires_at"];
    for key in &keys {
        let cells = members.map(|member| match &key[member] {
            Value::Number(seconds) => output::date(seconds.as_u64().unwrap_or_default()),
            other => other.as_str().unwrap_or("-").to_owned(),
        });
        let device = if key["pkcs11_uri"].is_string() { "pkcs11" } else { "-" };
        table.add_row(cells.into_iter().chain([device.to_owned()]));
    }
    output::line(&table.trim_fmt())?;
    Ok(Exit::Ok)
}

async fn run_remote(act: Act, remote: &Remote, json: bool) -> anyhow::Result<Exit> {
    let changed = &match act {
        Act::List | Act::Rewrap(_) => {
            let found = &remote.get("keys", &()).await?;
            return list(found["keys"].as_array().cloned().unwrap_or_default(), json);
        }
        Act::Rotate => remote.post("keys/rotate", &json!({})).await?,
        Act::Compromise { id: kid, reason } => {
            remote.post("keys/compromise", &Compromise { kid, reason }).await?
        }
    };
    let text = |member: &str| changed[member].as_str().unwrap_or_default();
    let is = |member: &str| changed[member] == true;
    let published = if is("published") { Published::Everywhere } else { Published::NotYet };
    tell(text("signing"), is("settled"), text("what"), published, json)
}

fn failed(error: KeyChangeError) -> anyhow::Error {
    let failure = match error {
        KeyChangeError::UnknownKey | KeyChangeError::StandbyTooYoung(_) => Failure::Refused,
        _ => Failure::Unavailable,
    };
    anyhow::Error::new(failure).context(edgepass_server::error_chain(&error))
}

//! What the Worker's bindings say, read once per isolate.

use std::cell::RefCell;
use std::rc::Rc;

use edgepass_jose::json::{parse_array, parse_object};
use edgepass_verify::dpop::nonce::{NonceRule, NonceSecrets};
use edgepass_verify::policy::OneOrMany;
use edgepass_verify::verifier::{DEFAULT_LIST_BYTES, JwksUri, KeySource, Verifier};
use edgepass_verify::written::read;
use edgepass_verify::{Policy, PolicyConfig, url};
use edgepass_web::{Bucket, CacheTier, IsolateReplay, ReplayStore, Source, WebVerifier};
use serde_json::Value;
use worker::Env;
use worker::js_sys::{JSON, Reflect};
use worker::wasm_bindgen::JsValue;

use crate::metrics::Metrics;
use crate::policy::{GuardPolicy, PolicyText};
use crate::replay::SharedReplay;

/// Policy, verifier and origin of this isolate.
pub(crate) struct Settings {
    pub(crate) policy: GuardPolicy,
    pub(crate) verifier: WebVerifier,
    /// What the status lists of one issuer may take.
    pub(crate) list_bytes: usize,
    pub(crate) metrics: Metrics,
    /// `EXTERNAL_URL`: scheme and authority of this API, as its clients see them.
    pub(crate) external_url: Option<String>,
    /// `ORIGIN_URL` without a trailing slash. A service binding `ORIGIN` comes before it.
    pub(crate) origin_url: Option<String>,
    /// Sent to the origin, so that it can refuse whoever else calls it.
    pub(crate) origin_secret: Option<String>,
}

thread_local! {
    static SETTINGS: RefCell<Option<Rc<Settings>>> = const { RefCell::new(None) };
}

impl Settings {
    /// The isolate's settings; read from `env` on its first request.
    pub(crate) fn of(env: &Env) -> Result<Rc<Self>, String> {
        if let Some(settings) = SETTINGS.with_borrow(Option::clone) {
            return Ok(settings);
        }
        let settings = Rc::new(Self::read(env)?);
        SETTINGS.set(Some(Rc::clone(&settings)));
        Ok(settings)
    }

    fn read(env: &Env) -> Result<Self, String> {
        const POLICY: &str = include_str!(concat!(env!("OUT_DIR"), "/guard.json"));
        let policy = parse_object(POLICY.as_bytes()).map_err(|error| error.to_string())?;
        let written: PolicyText = read(policy.into()).map_err(|error| error.to_string())?;
        let variable = |name| env.var(name).ok().map(|value| value.to_string());
        let origin_url = variable("ORIGIN_URL").map(|url| url.trim_end_matches('/').to_owned());
        if origin_url.as_deref().is_some_and(|url| !is_base_url(url)) {
            return Err("ORIGIN_URL is an http or https URL without query or fragment".into());
        }
        if origin_url.is_none() && env.service("ORIGIN").is_err() {
            return Err("set ORIGIN_URL, or bind a service as ORIGIN".into());
        }
        let cache = match variable("CACHE").as_deref() {
            None | Some("cache-api") => CacheTier::CacheApi,
            Some("none") => CacheTier::None,
            Some(_) => return Err("CACHE is \"cache-api\" or \"none\"".into()),
        };
        let external_url = variable("EXTERNAL_URL");
        if external_url.as_deref().is_some_and(|own| url::origin(own).as_deref() != Some(own)) {
            return Err("EXTERNAL_URL is a scheme and an authority: \"https://api.example\"".into());
        }
        let verifier = Verifier::of_issuers(issuers(env)?)
            .map_err(|error| error.to_string())?
            .with_nonces(nonces(env)?);
        let bytes = |name| {
            let bytes = variable(name).map(|bytes| bytes.parse::<usize>()).transpose();
            bytes.map_err(|_| format!("{name} is a number of bytes"))
        };
        let verifier = match bytes("VERIFIED_BYTES")? {
            None => verifier,
            Some(bytes) => verifier.with_verified_bytes(bytes),
        };
        let list_bytes = bytes("LIST_BYTES")?.unwrap_or(DEFAULT_LIST_BYTES);
        let verifier = verifier.with_list_bytes(list_bytes);
        // Asked for and not usable is a mistake, never a weaker store.
        let replay: Box<dyn ReplayStore> = if is_bound(env, "USED_PROOFS") {
            let objects = env.durable_object("USED_PROOFS");
            let objects = objects.map_err(|_| "USED_PROOFS is no Durable Object namespace")?;
            Box::new(SharedReplay(objects))
        } else {
            Box::new(IsolateReplay::default())
        };
        Ok(Self {
            policy: written.try_into()?,
            verifier: WebVerifier::new(verifier, replay, cache, source(env)?),
            list_bytes,
            metrics: Metrics::new(
                bound(env, "METRICS"),
                env.secret("METRICS_TOKEN").ok().map(|secret| secret.to_string()),
            ),
            external_url,
            origin_url,
            origin_secret: env.secret("ORIGIN_SECRET").ok().map(|secret| secret.to_string()),
        })
    }
}

/// Where the issuers' documents come from: a service or a bucket that is bound, else the network.
fn source(env: &Env) -> Result<Source, String> {
    let base = || env.var("DOCUMENTS_URL").or_else(|_| env.var("ISSUER"));
    match (bound(env, "ISSUER_SERVICE"), bound(env, "DOCUMENTS")) {
        (Some(_), Some(_)) => Err("bind either ISSUER_SERVICE or DOCUMENTS".into()),
        (Some(service), None) => Ok(Source::Service(service)),
        (None, None) => Ok(Source::Host),
        (None, Some(bucket)) => match base() {
            Ok(base) => {
                let base = base.to_string().trim_end_matches('/').to_owned();
                Ok(Source::Bucket(Bucket::new(bucket, base)))
            }
            Err(_) => Err("with the bucket DOCUMENTS set the variable DOCUMENTS_URL".into()),
        },
    }
}

/// The issuers that are trusted: `ISSUERS`, or the one that `ISSUER`, `AUDIENCE` and `JWKS_URI` name.
fn issuers(env: &Env) -> Result<Vec<(Policy, KeySource)>, String> {
    let variable = |name| env.var(name).ok().map(|value| value.to_string());
    let required = |name| variable(name).ok_or_else(|| format!("set the variable {name}"));
    let Some(several) = json_variable(env, "ISSUERS") else {
        let issuer = required("ISSUER")?;
        let mut config = PolicyConfig::new(issuer, OneOrMany::One(required("AUDIENCE")?));
        config.status.uri_prefixes = variable("STATUS_PREFIX").map(|prefix| vec![prefix]);
        return Ok(vec![trusted(config, variable("JWKS_URI"), "JWKS_URI")?]);
    };
    if ["ISSUER", "AUDIENCE", "JWKS_URI"].iter().any(|name| is_bound(env, name)) {
        return Err("set either ISSUERS or ISSUER, AUDIENCE and JWKS_URI".into());
    }
    let several = parse_array(several.as_bytes()).ok_or("ISSUERS is no JSON array")?;
    several.into_iter().map(one_of_several).collect()
}

/// One of `ISSUERS`: a policy, and where its keys are.
fn one_of_several(mut issuer: Value) -> Result<(Policy, KeySource), String> {
    let mistaken = |error| format!("ISSUERS: {error}");
    let jwks_uri = issuer.as_object_mut().and_then(|policy| policy.remove("jwks_uri"));
    let jwks_uri = read(jwks_uri.unwrap_or_default()).map_err(mistaken)?;
    trusted(read(issuer).map_err(mistaken)?, jwks_uri, "jwks_uri")
}

/// Whether there is a binding of this name, usable or not.
fn is_bound(env: &Env, name: &str) -> bool {
    bound(env, name).is_some()
}

/// The binding of this name, usable or not.
fn bound(env: &Env, name: &str) -> Option<JsValue> {
    Reflect::get(env.as_ref(), &name.into()).ok().filter(|value| !value.is_undefined())
}

/// A variable that is JSON, or a text that holds it.
fn json_variable(env: &Env, name: &str) -> Option<String> {
    let value = Reflect::get(env.as_ref(), &name.into()).ok()?;
    value.as_string().or_else(|| JSON::stringify(&value).ok()?.as_string())
}

fn trusted(
    config: PolicyConfig,
    jwks_uri: Option<String>,
    name: &str,
) -> Result<(Policy, KeySource), String> {
    let policy = Policy::try_from(config).map_err(|error| error.to_string())?;
    let keys = match jwks_uri {
        None => KeySource::Discover,
        Some(url) => {
            KeySource::Url(JwksUri::parse(&url).map_err(|error| format!("{name}: {error}"))?)
        }
    };
    Ok((policy, keys))
}

/// Nonces are asked for where there is a secret to sign them with.
fn nonces(env: &Env) -> Result<NonceRule, String> {
    const CURRENT: &str = "DPOP_NONCE_SECRET";
    const PREVIOUS: &str = "DPOP_NONCE_SECRET_PREVIOUS";
    let secret = |name| match env.secret(name) {
        Ok(secret) => Ok(Some(secret.to_string().into_bytes())),
        Err(_) if is_bound(env, name) => Err(format!("{name} is no text")),
        Err(_) => Ok(None),
    };
    match (secret(CURRENT)?, secret(PREVIOUS)?) {
        (None, None) => Ok(NonceRule::NotAsked),
        (None, Some(_)) => Err(format!("{PREVIOUS} is set without {CURRENT}")),
        (Some(current), previous) => NonceSecrets::new(current, previous)
            .map(NonceRule::Signed)
            .map_err(|error| format!("{CURRENT}: {error}")),
    }
}

fn is_base_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\\".contains(&byte);
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain))
}

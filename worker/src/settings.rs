//! What the Worker's bindings say, read once per isolate.

use std::cell::RefCell;
use std::rc::Rc;

use edgepass_jose::json::{parse_array, parse_object};
use edgepass_verify::policy::OneOrMany;
use edgepass_verify::policy::json::read;
use edgepass_verify::verifier::config::{ConfigError, IssuerConfig, VerifierConfig};
use edgepass_verify::verifier::{DEFAULT_LIST_BYTES, Verifier};
use edgepass_verify::{PolicyConfig, url};
use edgepass_web::{Bucket, CacheTier, IsolateReplay, ReplayStore, Source, WebVerifier};
use js_sys::{JSON, Object, Reflect};
use serde_json::Value;
use wasm_bindgen::JsValue;

use crate::metrics::Metrics;
use crate::policy::{GuardPolicy, PolicyText};
use crate::replay::SharedReplay;

/// Policy, verifier and origin of this isolate.
pub(crate) struct Settings {
    pub(crate) policy: GuardPolicy,
    pub(crate) verifier: WebVerifier,
    /// What the status lists of one issuer may take.
    pub(crate) list_bytes: u64,
    pub(crate) metrics: Metrics,
    /// `EXTERNAL_URL`: scheme and authority of this API, as its clients see them.
    pub(crate) external_url: Option<String>,
    /// `ORIGIN_URL` without a trailing slash.
    pub(crate) origin_url: Option<String>,
    /// The service bound as `ORIGIN`, which comes before that.
    pub(crate) origin_service: Option<JsValue>,
    /// Sent to the origin, so that it can refuse whoever else calls it.
    pub(crate) origin_secret: Option<String>,
}

thread_local! {
    static SETTINGS: RefCell<Option<Rc<Settings>>> = const { RefCell::new(None) };
}

impl Settings {
    /// The isolate's settings; read from `env` on its first request.
    pub(crate) fn of(env: &Object) -> Result<Rc<Self>, String> {
        if let Some(settings) = Self::held() {
            return Ok(settings);
        }
        let settings = Rc::new(Self::read(env)?);
        SETTINGS.set(Some(Rc::clone(&settings)));
        Ok(settings)
    }

    /// The isolate's settings, once they were read.
    pub(crate) fn held() -> Option<Rc<Self>> {
        SETTINGS.with_borrow(Option::clone)
    }

    fn read(env: &Object) -> Result<Self, String> {
        const POLICY: &str = include_str!(concat!(env!("OUT_DIR"), "/guard.json"));
        let policy = parse_object(POLICY.as_bytes()).map_err(|error| error.to_string())?;
        let written: PolicyText = read(policy.into()).map_err(|error| error.to_string())?;
        refuse_unknown(env)?;
        let origin_url = text(env, "ORIGIN_URL")?.map(|url| url.trim_end_matches('/').to_owned());
        if origin_url.as_deref().is_some_and(|url| !is_base_url(url)) {
            return Err("ORIGIN_URL is an https URL (http only on loopback) without user, query or fragment".into());
        }
        let origin_service = object(env, "ORIGIN", "fetch")?;
        if origin_url.is_none() && origin_service.is_none() {
            return Err("set ORIGIN_URL, or bind a service as ORIGIN".into());
        }
        let cache = match text(env, "CACHE")?.as_deref() {
            None | Some("cache-api") => CacheTier::CacheApi,
            Some("none") => CacheTier::None,
            Some(_) => return Err("CACHE is \"cache-api\" or \"none\"".into()),
        };
        let external_url = text(env, "EXTERNAL_URL")?;
        if external_url.as_deref().is_some_and(|own| url::origin(own).as_deref() != Some(own)) {
            return Err("EXTERNAL_URL is a scheme and an authority: \"https://api.example\"".into());
        }
        let bytes = |name| {
            let bytes = text(env, name)?.map(|bytes| bytes.parse::<u64>()).transpose();
            bytes.map_err(|_| format!("{name} is a number of bytes, as a text"))
        };
        let list_bytes = bytes("LIST_BYTES")?.unwrap_or(DEFAULT_LIST_BYTES as u64);
        let config = VerifierConfig {
            issuers: issuers(env)?,
            nonce_secrets: nonce_secrets(env)?,
            verified_bytes: bytes("VERIFIED_BYTES")?,
            list_bytes: Some(list_bytes),
        };
        let verifier = Verifier::try_from(config).map_err(|error| wrong(env, &error))?;
        // Asked for and not usable is a mistake, never a weaker store.
        let replay: Box<dyn ReplayStore> = match object(env, "USED_PROOFS", "getByName")? {
            Some(objects) => Box::new(SharedReplay(objects)),
            None => Box::new(IsolateReplay::default()),
        };
        Ok(Self {
            policy: written.try_into()?,
            verifier: WebVerifier::new(verifier, replay, cache, source(env)?),
            list_bytes,
            metrics: Metrics::new(
                object(env, "METRICS", "writeDataPoint")?,
                secret(env, "METRICS_TOKEN")?,
            ),
            external_url,
            origin_url,
            origin_service,
            origin_secret: secret(env, "ORIGIN_SECRET")?,
        })
    }
}

/// Where the issuers' documents come from: a service or a bucket that is bound, else the network.
fn source(env: &Object) -> Result<Source, String> {
    match (object(env, "ISSUER_SERVICE", "fetch")?, object(env, "DOCUMENTS", "get")?) {
        (Some(_), Some(_)) => Err("bind either ISSUER_SERVICE or DOCUMENTS".into()),
        (_, None) if is_bound(env, "DOCUMENTS_URL") => {
            Err("DOCUMENTS_URL is set without a bucket DOCUMENTS".into())
        }
        (Some(service), None) => Ok(Source::Service(service)),
        (None, None) => Ok(Source::Host),
        (None, Some(bucket)) => {
            let base = match text(env, "DOCUMENTS_URL")? {
                Some(base) => Some(base),
                None => text(env, "ISSUER")?,
            };
            let base = base.ok_or("with the bucket DOCUMENTS set the variable DOCUMENTS_URL")?;
            if !url::is_acceptable(&base) {
                return Err("DOCUMENTS_URL is an https URL (http only on loopback)".into());
            }
            Ok(Source::Bucket(Bucket::new(bucket, base.trim_end_matches('/').to_owned())))
        }
    }
}

/// The issuers that are trusted: `ISSUERS`, or the one that `ISSUER`, `AUDIENCE` and `JWKS_URI` name.
fn issuers(env: &Object) -> Result<Vec<IssuerConfig>, String> {
    let required = |name| text(env, name)?.ok_or_else(|| format!("set the variable {name}"));
    let Some(several) = json_variable(env, "ISSUERS")? else {
        let issuer = required("ISSUER")?;
        let mut policy = PolicyConfig::new(issuer, OneOrMany::One(required("AUDIENCE")?));
        policy.status.uri_prefixes = text(env, "STATUS_PREFIX")?.map(|prefix| vec![prefix]);
        return Ok(vec![IssuerConfig { policy, jwks: text(env, "JWKS_URI")? }]);
    };
    const OF_ONE: [&str; 4] = ["ISSUER", "AUDIENCE", "JWKS_URI", "STATUS_PREFIX"];
    if OF_ONE.iter().any(|name| is_bound(env, name)) {
        return Err(format!("set either ISSUERS or {}", OF_ONE.join(", ")));
    }
    let several = parse_array(several.as_bytes()).ok_or("ISSUERS is no JSON array")?;
    several.into_iter().map(one_of_several).collect()
}

/// One of `ISSUERS`: a policy, and where its keys are.
fn one_of_several(mut issuer: Value) -> Result<IssuerConfig, String> {
    let mistaken = |error| format!("ISSUERS: {error}");
    let jwks_uri = issuer.as_object_mut().and_then(|policy| policy.remove("jwks_uri"));
    let jwks = jwks_uri.map(read).transpose().map_err(mistaken)?;
    Ok(IssuerConfig { policy: read(issuer).map_err(mistaken)?, jwks })
}

/// What is wrong, with the variable that it is in.
fn wrong(env: &Object, error: &ConfigError) -> String {
    let variable = match error {
        ConfigError::NonceSecret(_) | ConfigError::NonceSecrets => NONCE_SECRETS.join(", "),
        _ if is_bound(env, "ISSUERS") => "ISSUERS".to_owned(),
        ConfigError::JwksUri(_) | ConfigError::Jwks(_) => "JWKS_URI".to_owned(),
        ConfigError::Policy(_) => "ISSUER, AUDIENCE, STATUS_PREFIX".to_owned(),
    };
    format!("{variable}: {error}")
}

/// Whatever the guard reads. The environment is its own: what else is there is mistyped, and would ask
/// for nothing.
const KNOWN: [&str; 20] = [
    "AUDIENCE",
    "CACHE",
    "DOCUMENTS",
    "DOCUMENTS_URL",
    "DPOP_NONCE_SECRET",
    "DPOP_NONCE_SECRET_PREVIOUS",
    "EXTERNAL_URL",
    "ISSUER",
    "ISSUERS",
    "ISSUER_SERVICE",
    "JWKS_URI",
    "LIST_BYTES",
    "METRICS",
    "METRICS_TOKEN",
    "ORIGIN",
    "ORIGIN_SECRET",
    "ORIGIN_URL",
    "STATUS_PREFIX",
    "USED_PROOFS",
    "VERIFIED_BYTES",
];

fn refuse_unknown(env: &Object) -> Result<(), String> {
    let names = Object::keys(env);
    let mut names = names.iter().filter_map(|name| name.as_string());
    match names.find(|name| !KNOWN.contains(&name.as_str())) {
        Some(name) => {
            Err(format!("{name} is no setting of the guard; there are {}", KNOWN.join(", ")))
        }
        None => Ok(()),
    }
}

/// Whether there is a binding of this name, usable or not.
fn is_bound(env: &Object, name: &str) -> bool {
    bound(env, name).is_some()
}

/// The binding of this name, usable or not.
fn bound(env: &Object, name: &str) -> Option<JsValue> {
    Reflect::get(env.as_ref(), &name.into()).ok().filter(|value| !value.is_undefined())
}

/// A variable: a text that says something.
fn text(env: &Object, name: &str) -> Result<Option<String>, String> {
    let Some(value) = bound(env, name) else { return Ok(None) };
    let text = value.as_string().filter(|text| !text.is_empty());
    text.map(Some).ok_or_else(|| format!("{name} is no text, or an empty one"))
}

/// A secret that cannot be guessed.
fn secret(env: &Object, name: &str) -> Result<Option<String>, String> {
    let secret = text(env, name)?;
    let is_good = |secret: &String| {
        secret.len() >= SECRET_CHARACTERS && secret.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if secret.as_ref().is_some_and(|secret| !is_good(secret)) {
        return Err(format!(
            "{name} takes at least {SECRET_CHARACTERS} characters, visible ASCII, drawn at random"
        ));
    }
    Ok(secret)
}

/// As many as a nonce's secret has at least.
const SECRET_CHARACTERS: usize = 32;

/// A binding that is an object with this method.
fn object(env: &Object, name: &str, method: &str) -> Result<Option<JsValue>, String> {
    let Some(value) = bound(env, name) else { return Ok(None) };
    let has = |name: &str| Reflect::get(&value, &name.into()).is_ok_and(|has| has.is_function());
    // A bound service seems to have every method, since its Worker may. It is no bucket and no namespace.
    let is_service = has("edgepassHasNoSuchMethod");
    let is_other = is_service && ["get", "getByName"].contains(&method);
    if value.is_object() && has(method) && !is_other {
        Ok(Some(value))
    } else {
        Err(format!("{name} is bound to something without {method}()"))
    }
}

/// A variable that is JSON, or a text that holds it.
fn json_variable(env: &Object, name: &str) -> Result<Option<String>, String> {
    let Some(value) = bound(env, name) else { return Ok(None) };
    let text = value.as_string().or_else(|| JSON::stringify(&value).ok()?.as_string());
    text.map(Some).ok_or_else(|| format!("{name} is no JSON"))
}

/// The one that signs, and the one before it.
const NONCE_SECRETS: [&str; 2] = ["DPOP_NONCE_SECRET", "DPOP_NONCE_SECRET_PREVIOUS"];

/// Nonces are asked for where there is a secret to sign them with.
fn nonce_secrets(env: &Object) -> Result<Option<Vec<String>>, String> {
    let [current, previous] = NONCE_SECRETS;
    match (secret(env, current)?, secret(env, previous)?) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(format!("{previous} is set without {current}")),
        (Some(secret), other) => Ok(Some(std::iter::once(secret).chain(other).collect())),
    }
}

/// Whom the identity of callers may be told, and a secret.
fn is_base_url(base: &str) -> bool {
    url::is_acceptable(base) && url::origin(base).is_some() && !base.contains(['?', '#'])
}

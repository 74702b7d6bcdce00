//! Settings from the Worker's variables and bindings, read once per isolate.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgepass_jose::json::{parse_array, parse_object};
use edgepass_usage::WINDOW_MS;
use edgepass_verify::policy::OneOrMany;
use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::policy::json::{ShapeError, read};
use edgepass_verify::verifier::config::{ConfigError, IssuerConfig, VerifierConfig};
use edgepass_verify::verifier::{DEFAULT_LIST_BYTES, Verifier};
use edgepass_verify::{PolicyConfig, url};
use edgepass_web::{
    Bucket, CacheTier, IsolateReplay, ReplayStore, RequestOptions, Source, WebVerifier,
};
use js_sys::{JSON, Object, Reflect};
use serde_json::Value;
use wasm_bindgen::JsValue;

use crate::forward::can_bypass_caches;
use crate::metrics::Metrics;
use crate::policy::{Access, GuardPolicy, PolicyText, Route};
use crate::rate_limit::RateLimits;
use crate::replay::SharedReplay;
use crate::resource;
use crate::settings_error::SettingsError;
use crate::usage::{Usage, UsageSettings};

/// The settings of this isolate, with the verifier and the counters made from them.
pub(crate) struct Settings {
    pub(crate) policy: GuardPolicy,
    pub(crate) verifier: WebVerifier,
    /// `LIST_BYTES`: memory limit for the status lists of one issuer, in bytes. Default 16 MiB.
    pub(crate) list_bytes: u64,
    pub(crate) metrics: Metrics,
    pub(crate) limits: RateLimits,
    /// The counts of use, if somebody takes them.
    pub(crate) usage: Option<Rc<Usage>>,
    /// `EXTERNAL_URL`: scheme and authority of this API, as its clients see them.
    pub(crate) external_url: Option<String>,
    /// `ORIGIN_URL` without a trailing slash.
    pub(crate) origin_url: Option<String>,
    /// The service bound as `ORIGIN`. It takes precedence over `ORIGIN_URL`.
    pub(crate) origin_service: Option<JsValue>,
    /// `ORIGIN_SECRET`, which the guard sends to the origin, so that the origin can refuse requests
    /// that bypass the guard.
    pub(crate) origin_secret: Option<String>,
    /// `MASK_KEY`, under which masked values are hashed.
    pub(crate) mask_key: Option<String>,
}

thread_local! {
    static SETTINGS: RefCell<Option<Rc<Settings>>> = const { RefCell::new(None) };
}

impl Settings {
    /// Returns the isolate's settings. The first request reads them from `env`; after an error the
    /// next request reads them again.
    pub(crate) fn of(env: &Object) -> Result<Rc<Self>, SettingsError> {
        if let Some(settings) = Self::held() {
            return Ok(settings);
        }
        let settings = Rc::new(Self::read(env)?);
        SETTINGS.set(Some(Rc::clone(&settings)));
        Ok(settings)
    }

    /// Returns the isolate's settings, if a request has read them.
    pub(crate) fn held() -> Option<Rc<Self>> {
        SETTINGS.with_borrow(Option::clone)
    }

    fn read(env: &Object) -> Result<Self, SettingsError> {
        const POLICY: &str = include_str!(concat!(env!("OUT_DIR"), "/guard.json"));
        let policy = parse_object(POLICY.as_bytes()).map_err(SettingsError::PolicyText)?;
        let written: PolicyText = read(policy.into()).map_err(SettingsError::PolicyShape)?;
        if !can_bypass_caches() {
            return Err(SettingsError::CompatibilityDate);
        }
        let mut policy = GuardPolicy::try_from(written).map_err(SettingsError::Policy)?;
        let mut limiters = Vec::new();
        for name in policy.limiters() {
            let Some(binding) = binding(env, name, "limit") else {
                return Err(SettingsError::Limiter { name: name.to_owned() });
            };
            limiters.push((name.to_owned(), binding));
        }
        refuse_unknown(env, &limiters)?;
        let origin_url = text(env, "ORIGIN_URL")?.map(|url| url.trim_end_matches('/').to_owned());
        if origin_url.as_deref().is_some_and(|url| !is_base_url(url)) {
            return Err(SettingsError::OriginUrl);
        }
        let origin_service = object(env, "ORIGIN", "fetch")?;
        if origin_url.is_none() && origin_service.is_none() {
            return Err(SettingsError::NoOrigin);
        }
        let cache = match text(env, "CACHE")?.as_deref() {
            None | Some("cache-api") => CacheTier::CacheApi,
            Some("none") => CacheTier::None,
            Some(_) => return Err(SettingsError::Cache),
        };
        let external_url = text(env, "EXTERNAL_URL")?;
        if external_url.as_deref().is_some_and(|own| url::origin(own).as_deref() != Some(own)) {
            return Err(SettingsError::ExternalUrl);
        }
        let bytes = |name| {
            let bytes = text(env, name)?.map(|bytes| bytes.parse::<u64>()).transpose();
            bytes.map_err(|_| SettingsError::NotBytes(name))
        };
        let list_bytes = bytes("LIST_BYTES")?.unwrap_or(DEFAULT_LIST_BYTES as u64);
        let of_external_url = [NONCE_SECRETS[0], "USED_PROOFS"];
        let idle =
            of_external_url.into_iter().find(|name| external_url.is_none() && is_bound(env, name));
        if let Some(name) = idle {
            return Err(SettingsError::NeedsExternalUrl(name));
        }
        if external_url.is_none() && policy.routes.iter().any(|route| !route.resource.is_empty()) {
            return Err(SettingsError::NeedsExternalUrl("resource of a route"));
        }
        let source = source(env)?;
        let usage = usage(env)?.map(|settings| Rc::new(Usage::new(settings)));
        let config = VerifierConfig {
            issuers: issuers(env)?,
            nonce_secrets: nonce_secrets(env)?,
            verified_bytes: bytes("VERIFIED_BYTES")?,
            list_bytes: Some(list_bytes),
            max_rsa_bits: None,
        };
        for issuer in &config.issuers {
            let url = issuer.jwks.as_ref().unwrap_or(&issuer.policy.issuer);
            if let Source::Bucket(bucket) = &source
                && !bucket.may_hold(url)
            {
                return Err(SettingsError::NotInBucket(issuer.policy.issuer.clone()));
            }
        }
        let verifier = Verifier::try_from(config).map_err(|error| wrong(env, error))?;
        if let Some(usage) = &usage
            && !verifier.issuers().any(|issuer| issuer == usage.issuer())
        {
            return Err(SettingsError::UsageIssuer);
        }
        for Route { access, resource, .. } in &mut policy.routes {
            let Access::Token(requirements) = access else { continue };
            if let Some(external_url) = &external_url {
                let url = resource::metadata_url(external_url, resource);
                Arc::make_mut(requirements).resource_metadata = Some(url);
            }
            let checked = verifier.check_requirements(requirements);
            checked.map_err(SettingsError::Requirements)?;
        }
        // An unusable binding is an error. The guard never falls back to the weaker store.
        let replay: Box<dyn ReplayStore> = match object(env, "USED_PROOFS", "getByName")? {
            Some(objects) => Box::new(SharedReplay(objects)),
            None => Box::new(IsolateReplay::default()),
        };
        let mask_key = secret(env, "MASK_KEY")?;
        let hashes = policy
            .routes
            .iter()
            .any(|route| route.masks.as_ref().is_some_and(|masks| masks.has_hash()));
        if hashes != mask_key.is_some() {
            return Err(SettingsError::MaskKey);
        }
        let options = RequestOptions {
            user_agent: Some(user_agent(env)?),
            // With earlier compatibility dates the guard does not start.
            has_cache_mode: true,
            on_event: None,
        };
        Ok(Self {
            policy,
            verifier: WebVerifier::new(
                verifier.with_watch_at_once(),
                replay,
                cache,
                (source, options),
            ),
            list_bytes,
            metrics: Metrics::new(
                object(env, "METRICS", "writeDataPoint")?,
                secret(env, "METRICS_TOKEN")?,
            ),
            limits: RateLimits::new(limiters),
            usage,
            external_url,
            origin_url,
            origin_service,
            origin_secret: secret(env, "ORIGIN_SECRET")?,
            mask_key,
        })
    }
}

impl Settings {
    /// Returns the metadata of a protected resource at a path of this API, if the API's URL is known.
    pub(crate) fn metadata(&self, path: &str) -> Option<String> {
        let resource = resource::resource_at(path)?;
        let external_url = self.external_url.as_deref()?;
        let issuers = self.verifier.issuers();
        resource::metadata(resource, external_url, &self.policy, &issuers)
    }
}

/// What the guard's requests to issuers say in `User-Agent`.
fn user_agent(env: &Object) -> Result<String, SettingsError> {
    match text(env, "USER_AGENT")? {
        None => Ok(USER_AGENT.into()),
        Some(agent) if is_field_value(&agent) => Ok(agent),
        Some(_) => Err(SettingsError::UserAgent),
    }
}

/// Source of the issuers' documents: a bound service or bucket, else the network.
fn source(env: &Object) -> Result<Source, SettingsError> {
    match (object(env, "ISSUER_SERVICE", "fetch")?, object(env, "DOCUMENTS", "get")?) {
        (Some(_), Some(_)) => Err(SettingsError::TwoSources),
        (_, None) if is_bound(env, "DOCUMENTS_URL") => Err(SettingsError::DocumentsUrlAlone),
        (Some(service), None) => Ok(Source::Service(service)),
        (None, None) => Ok(Source::Host),
        (None, Some(bucket)) => {
            let base = match text(env, "DOCUMENTS_URL")? {
                Some(base) => Some(base),
                None => text(env, "ISSUER")?,
            };
            let base = base.ok_or(SettingsError::NoDocumentsUrl)?;
            if !url::is_acceptable(&base) {
                return Err(SettingsError::DocumentsUrl);
            }
            Ok(Source::Bucket(Bucket::new(bucket, base.trim_end_matches('/').to_owned())))
        }
    }
}

/// Who gets the counts of use: the binding `USAGE`, or the issuer, with the guard as its client. `None`: nobody.
fn usage(env: &Object) -> Result<Option<UsageSettings>, SettingsError> {
    let client = match (text(env, "USAGE_CLIENT_ID")?, secret(env, "USAGE_CLIENT_SECRET")?) {
        (Some(id), Some(secret)) => Some((id, secret)),
        (None, None) => None,
        _ => return Err(SettingsError::UsageClient),
    };
    let queue = binding(env, "USAGE", "send");
    let is_queue = queue.is_some();
    let taker = match (is_bound(env, "USAGE"), &client) {
        (true, Some(_)) => return Err(SettingsError::UsageTwice),
        (true, None) if is_queue => queue,
        (true, None) => object(env, "USAGE", "fetch")?,
        (false, Some(_)) => object(env, "ISSUER_SERVICE", "fetch")?,
        (false, None) => {
            let others = ["USAGE_ADDRESS_KEY", "USAGE_DATASET", "USAGE_INTERVAL", "USAGE_ISSUER"];
            return match others.into_iter().find(|name| is_bound(env, name)) {
                Some(name) => Err(SettingsError::UsageAlone(name)),
                None => Ok(None),
            };
        }
    };
    let issuer = match (text(env, "USAGE_ISSUER")?, text(env, "ISSUER")?) {
        (Some(issuer), None) | (None, Some(issuer)) => issuer,
        _ => return Err(SettingsError::UsageIssuer),
    };
    let interval = text(env, "USAGE_INTERVAL")?.map(|text| DurationText::parse(&text)).transpose();
    let interval = interval.map_err(|_| SettingsError::UsageInterval)?;
    let interval = interval.map_or(Duration::from_millis(WINDOW_MS), |interval| interval.0);
    if !(SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval) {
        return Err(SettingsError::UsageInterval);
    }
    Ok(Some(UsageSettings {
        issuer,
        taker,
        is_queue,
        client,
        dataset: object(env, "USAGE_DATASET", "writeDataPoint")?,
        address_key: secret(env, "USAGE_ADDRESS_KEY")?,
        interval,
        user_agent: user_agent(env)?,
    }))
}

/// Limits of `USAGE_INTERVAL`.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

/// The trusted issuers: `ISSUERS`, or the one that [`OF_ONE`] describes.
fn issuers(env: &Object) -> Result<Vec<IssuerConfig>, SettingsError> {
    let required = |name| text(env, name)?.ok_or(SettingsError::Missing(name));
    let Some(several) = json_variable(env, "ISSUERS")? else {
        let issuer = required("ISSUER")?;
        let mut policy = PolicyConfig::new(issuer, OneOrMany::One(required("AUDIENCE")?));
        policy.status.uri_prefixes = text(env, "STATUS_PREFIX")?.map(|prefix| vec![prefix]);
        return Ok(vec![IssuerConfig { policy, jwks: text(env, "JWKS_URI")? }]);
    };
    if OF_ONE.iter().any(|name| is_bound(env, name)) {
        return Err(SettingsError::TwoWays);
    }
    let several = parse_array(several.as_bytes()).ok_or(SettingsError::Issuers)?;
    let is_one = several.len() == 1;
    let read = |(index, issuer): (usize, Value)| {
        one_of_several(issuer).map_err(|error| {
            SettingsError::Issuer(match is_one {
                true => error,
                false => ShapeError::In { path: format!("[{index}]"), error: Box::new(error) },
            })
        })
    };
    several.into_iter().enumerate().map(read).collect()
}

/// Reads an element of `ISSUERS`: a policy, and the URL of its JWK Set.
fn one_of_several(mut issuer: Value) -> Result<IssuerConfig, ShapeError> {
    let jwks_uri = issuer.as_object_mut().and_then(|policy| policy.remove("jwks_uri"));
    Ok(IssuerConfig { jwks: jwks_uri.map(read).transpose()?, policy: read(issuer)? })
}

/// Adds to an error of the verifier the names of the variables that caused it.
fn wrong(env: &Object, error: ConfigError) -> SettingsError {
    let variables = match error {
        ConfigError::NonceSecret(_) | ConfigError::NonceSecrets => NONCE_SECRETS.join(", "),
        _ if is_bound(env, "ISSUERS") => "ISSUERS".to_owned(),
        ConfigError::JwksUri(_) | ConfigError::Jwks(_) => "JWKS_URI".to_owned(),
        ConfigError::Of { .. } | ConfigError::Policy(_) => {
            "ISSUER, AUDIENCE, STATUS_PREFIX".to_owned()
        }
    };
    SettingsError::Verifier { variables, error: Box::new(error) }
}

/// The names of all settings of the guard. A variable or binding with another name is an error: it
/// is probably a misspelt setting, which would have no effect.
pub(crate) const KNOWN: [&str; 29] = [
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
    "MASK_KEY",
    "METRICS",
    "METRICS_TOKEN",
    "ORIGIN",
    "ORIGIN_SECRET",
    "ORIGIN_URL",
    "STATUS_PREFIX",
    "USAGE",
    "USAGE_ADDRESS_KEY",
    "USAGE_CLIENT_ID",
    "USAGE_CLIENT_SECRET",
    "USAGE_DATASET",
    "USAGE_INTERVAL",
    "USAGE_ISSUER",
    "USED_PROOFS",
    "USER_AGENT",
    "VERIFIED_BYTES",
];

/// The default of `USER_AGENT`: what the guard's requests to issuers say.
const USER_AGENT: &str = concat!("edgepass/", env!("CARGO_PKG_VERSION"));

/// Whether a text can be the value of a header field as it is.
fn is_field_value(text: &str) -> bool {
    text.trim() == text && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

/// The settings that describe a single issuer, instead of `ISSUERS`.
pub(crate) const OF_ONE: [&str; 4] = ["ISSUER", "AUDIENCE", "JWKS_URI", "STATUS_PREFIX"];

fn refuse_unknown(env: &Object, limiters: &[(String, JsValue)]) -> Result<(), SettingsError> {
    let names = Object::keys(env);
    let mut names = names.iter().filter_map(|name| name.as_string());
    let is_limiter = |name: &str| limiters.iter().any(|(own, _)| own == name);
    let is_known = |name: &str| KNOWN.contains(&name) || is_limiter(name);
    match names.find(|name| !is_known(name)) {
        Some(name) => Err(SettingsError::Unknown { name }),
        None => Ok(()),
    }
}

/// Whether a binding with this name exists, usable or not.
fn is_bound(env: &Object, name: &str) -> bool {
    bound(env, name).is_some()
}

/// Returns the binding with this name, usable or not.
fn bound(env: &Object, name: &str) -> Option<JsValue> {
    Reflect::get(env.as_ref(), &name.into()).ok().filter(|value| !value.is_undefined())
}

/// Reads a variable. `None` if it is absent; an error if it is no string or empty.
fn text(env: &Object, name: &'static str) -> Result<Option<String>, SettingsError> {
    let Some(value) = bound(env, name) else { return Ok(None) };
    let text = value.as_string().filter(|text| !text.is_empty());
    text.map(Some).ok_or(SettingsError::NotAString(name))
}

/// Reads a secret. `None` if it is absent; an error unless it is visible ASCII, at least
/// [`SECRET_CHARACTERS`] long.
fn secret(env: &Object, name: &'static str) -> Result<Option<String>, SettingsError> {
    let secret = text(env, name)?;
    let is_good = |secret: &String| {
        secret.len() >= SECRET_CHARACTERS && secret.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if secret.as_ref().is_some_and(|secret| !is_good(secret)) {
        return Err(SettingsError::WeakSecret { name });
    }
    Ok(secret)
}

/// Minimum length of a secret, in characters. The verifier requires as many bytes of nonce secrets.
pub(crate) const SECRET_CHARACTERS: usize = 32;

/// Reads a binding. `None` if it is absent; an error unless it is an object with this method.
fn object(
    env: &Object,
    name: &'static str,
    method: &'static str,
) -> Result<Option<JsValue>, SettingsError> {
    if bound(env, name).is_none() {
        return Ok(None);
    }
    binding(env, name, method).map(Some).ok_or(SettingsError::Binding { name, method })
}

/// Reads a binding. `None` unless it is an object with this method.
fn binding(env: &Object, name: &str, method: &str) -> Option<JsValue> {
    let value = bound(env, name)?;
    let has = |name: &str| Reflect::get(&value, &name.into()).is_ok_and(|has| has.is_function());
    // A bound service seems to have every method, since its Worker may define any. It must not pass
    // for a bucket or a namespace.
    let is_service = has("edgepassHasNoSuchMethod");
    let is_other = is_service && ["get", "getByName", "limit", "send"].contains(&method);
    (value.is_object() && has(method) && !is_other).then_some(value)
}

/// Reads a variable that is JSON, or a string that contains JSON. Returns the JSON text.
fn json_variable(env: &Object, name: &'static str) -> Result<Option<String>, SettingsError> {
    let Some(value) = bound(env, name) else { return Ok(None) };
    let text = value.as_string().or_else(|| JSON::stringify(&value).ok()?.as_string());
    text.map(Some).ok_or(SettingsError::NotJson(name))
}

/// The variables of the secret that signs nonces, and of a second one that is accepted as well.
const NONCE_SECRETS: [&str; 2] = ["DPOP_NONCE_SECRET", "DPOP_NONCE_SECRET_PREVIOUS"];

/// Reads the secrets for nonces, first the one that signs. `None`: DPoP proofs need no nonce.
fn nonce_secrets(env: &Object) -> Result<Option<Vec<String>>, SettingsError> {
    let [current, previous] = NONCE_SECRETS;
    match (secret(env, current)?, secret(env, previous)?) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(SettingsError::PreviousSecretAlone { current, previous }),
        (Some(secret), other) => Ok(Some(std::iter::once(secret).chain(other).collect())),
    }
}

/// Whether a URL may be `ORIGIN_URL`: https, or http on loopback, without user, query and fragment.
/// The guard sends identities and the secret there.
fn is_base_url(base: &str) -> bool {
    url::is_acceptable(base) && url::origin(base).is_some() && !base.contains(['?', '#'])
}

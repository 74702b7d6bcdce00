//! What the Worker's bindings say, read once per isolate.

use std::cell::RefCell;
use std::rc::Rc;

use edgepass_verify::verifier::{JwksUri, KeySource};
use edgepass_verify::{Policy, PolicyConfig};
use edgepass_web::{CacheTier, WebVerifier};
use serde_json::json;
use worker::Env;

use crate::policy::{GuardPolicy, PolicyText};

/// Policy, verifier and origin of this isolate.
pub(crate) struct Settings {
    pub(crate) policy: GuardPolicy,
    pub(crate) verifier: WebVerifier,
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
        let written: PolicyText = serde_json::from_str(POLICY).map_err(|e| e.to_string())?;
        let variable = |name| env.var(name).ok().map(|value| value.to_string());
        let required = |name| variable(name).ok_or(format!("set the variable {name}"));
        let origin_url = variable("ORIGIN_URL").map(|url| url.trim_end_matches('/').to_owned());
        if origin_url.as_deref().is_some_and(|url| !is_base_url(url)) {
            return Err("ORIGIN_URL is an http or https URL without query or fragment".into());
        }
        if origin_url.is_none() && env.service("ORIGIN").is_err() {
            return Err("set ORIGIN_URL, or bind a service as ORIGIN".into());
        }
        let config = json!({ "issuer": required("ISSUER")?, "audience": required("AUDIENCE")? });
        let config: PolicyConfig = serde_json::from_value(config).map_err(|e| e.to_string())?;
        let policy = Policy::try_from(config).map_err(|error| error.to_string())?;
        let keys = match variable("JWKS_URI") {
            None => KeySource::Discover,
            Some(url) => {
                KeySource::Url(JwksUri::parse(&url).map_err(|error| format!("JWKS_URI: {error}"))?)
            }
        };
        let cache = match variable("CACHE").as_deref() {
            None | Some("cache-api") => CacheTier::CacheApi,
            Some("none") => CacheTier::None,
            Some(_) => return Err("CACHE is \"cache-api\" or \"none\"".into()),
        };
        Ok(Self {
            policy: written.try_into()?,
            verifier: WebVerifier::new(policy, keys, cache, None),
            origin_url,
            origin_secret: env.secret("ORIGIN_SECRET").ok().map(|secret| secret.to_string()),
        })
    }
}

fn is_base_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\\".contains(&byte);
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain))
}

//! Records secrets that were sent, and refusals and logs. No part of a secret may be in a refusal
//! or log.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::ensure;

struct Transcript {
    /// Parts of tokens, proofs and secrets.
    confided: BTreeSet<String>,
    /// Refusals and logs, each with the place it came from.
    said: Vec<(String, String)>,
}

static TRANSCRIPT: Mutex<Transcript> =
    Mutex::new(Transcript { confided: BTreeSet::new(), said: Vec::new() });

/// Minimum length of a recorded part: shorter ones are words, not secrets.
const SHORTEST: usize = 16;

/// Record a secret that must not be repeated. A token is split into its parts.
pub(crate) fn confide(secret: &str) {
    let parts = secret.split(['.', ' ', '&', '=', '"', '\r', '\n']).map(str::to_owned);
    transcript().confided.extend(parts.filter(|part| part.len() >= SHORTEST));
}

/// Record a refusal or a log.
pub(crate) fn hear(place: &str, text: &str) {
    transcript().said.push((place.to_owned(), text.to_owned()));
}

/// Check that no refusal or log contains a recorded part. Return the counts as text.
pub(crate) fn check() -> anyhow::Result<String> {
    let transcript = transcript();
    let Transcript { confided, said } = &*transcript;
    ensure!(confided.len() > 10 && said.len() > 10, "too few secrets or texts were recorded");
    for (place, text) in said {
        let repeated = confided.iter().find(|part| text.contains(part.as_str()));
        ensure!(repeated.is_none(), "{place} repeats {repeated:?}");
    }
    Ok(format!("{} parts in {} refusals and logs", confided.len(), said.len()))
}

fn transcript() -> MutexGuard<'static, Transcript> {
    TRANSCRIPT.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What was sent in confidence, and what was said aloud: nothing of the one may be in the other.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::ensure;

struct Transcript {
    /// Parts of tokens, proofs and secrets.
    confided: BTreeSet<String>,
    /// Refusals and logs, with where they were said.
    said: Vec<(String, String)>,
}

static TRANSCRIPT: Mutex<Transcript> =
    Mutex::new(Transcript { confided: BTreeSet::new(), said: Vec::new() });

/// Shorter parts are words, not secrets.
const SHORTEST: usize = 16;

/// Remember something that must not be repeated: a token by its parts, each by itself.
pub(crate) fn confide(secret: &str) {
    let parts = secret.split(['.', ' ', '&', '=', '"', '\r', '\n']).map(str::to_owned);
    transcript().confided.extend(parts.filter(|part| part.len() >= SHORTEST));
}

/// Remember what was said.
pub(crate) fn hear(place: &str, text: &str) {
    transcript().said.push((place.to_owned(), text.to_owned()));
}

/// Check that nothing confided was said; gives the counts.
pub(crate) fn check() -> anyhow::Result<String> {
    let transcript = transcript();
    let Transcript { confided, said } = &*transcript;
    ensure!(confided.len() > 10 && said.len() > 10, "there is too little to look at");
    for (place, text) in said {
        let repeated = confided.iter().find(|part| text.contains(part.as_str()));
        ensure!(repeated.is_none(), "{place} repeats {repeated:?}");
    }
    Ok(format!("{} parts in {} refusals and logs", confided.len(), said.len()))
}

fn transcript() -> MutexGuard<'static, Transcript> {
    TRANSCRIPT.lock().unwrap_or_else(PoisonError::into_inner)
}

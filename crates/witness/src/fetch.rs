//! Fetches documents of a log.

use std::collections::HashMap;
use std::time::Duration;

use edgepass_log::proof::{ProofError, check_consistency, consistency_tiles, prove_consistency};
use edgepass_log::{TileId, TreeHead};
use reqwest::StatusCode;

use crate::WitnessError;

/// The largest document: a full tile has 8 KiB, a note at most 128 KiB.
const MAX: usize = 128 << 10;
/// The most tiles of one proof.
const MAX_TILES: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches over HTTP.
pub struct Client(reqwest::Client);

impl Client {
    /// Creates a client.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Usage`]: this system's TLS cannot be used.
    pub fn new(user_agent: &str) -> Result<Self, WitnessError> {
        let client = reqwest::Client::builder().user_agent(user_agent).timeout(TIMEOUT).build();
        client.map(Self).map_err(|error| {
            let what = "no HTTPS: this system has no certificates of authorities where OpenSSL looks \
                        for them; install them (Debian: ca-certificates), or name a file in SSL_CERT_FILE";
            WitnessError::usage(what, &chain(&error))
        })
    }

    /// The text at a URL.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Unavailable`], [`WitnessError::Refused`].
    pub async fn text(&self, url: &str) -> Result<String, WitnessError> {
        let octets = self.get(url).await?;
        let octets = octets.ok_or_else(|| unavailable(url, "does not exist"))?;
        String::from_utf8(octets).map_err(WitnessError::refused)
    }

    /// Checks that the log that is published at `url` begins with the entries that it had before.
    ///
    /// # Errors
    ///
    /// [`WitnessError`].
    pub async fn check_continues(
        &self,
        url: &str,
        old: TreeHead,
        new: TreeHead,
    ) -> Result<(), WitnessError> {
        if new.size < old.size {
            return Err(WitnessError::Shrunk { before: old.size, now: new.size });
        }
        let tiles = consistency_tiles(old.size, new.size).map_err(WitnessError::refused)?;
        let tiles = self.tiles(url, &tiles).await?;
        let proof = match prove_consistency(old.size, new, &tiles) {
            Err(ProofError::Tile(error)) => return Err(unavailable(url, &error.to_string())),
            // Of the same size it needs no tiles, but the same root.
            proof => proof.map_err(|_| WitnessError::NotContinued(old.size))?,
        };
        check_consistency(&proof, old, new).map_err(|_| WitnessError::NotContinued(old.size))
    }

    /// The tiles of the log that is published at `url`. In place of a partial tile that is gone comes the
    /// full one. A tile that is not there is left out.
    async fn tiles(
        &self,
        url: &str,
        ids: &[TileId],
    ) -> Result<HashMap<TileId, Vec<u8>>, WitnessError> {
        let mut tiles = HashMap::new();
        for id in ids.iter().take(MAX_TILES) {
            if let Some(hashes) = self.get(&format!("{url}/{id}")).await? {
                tiles.insert(*id, hashes);
            } else if !id.is_full()
                && let Some(hashes) = self.get(&format!("{url}/{}", id.full())).await?
            {
                tiles.insert(id.full(), hashes);
            }
        }
        Ok(tiles)
    }

    /// The document at a URL. `None`: there is none.
    async fn get(&self, url: &str) -> Result<Option<Vec<u8>>, WitnessError> {
        let failed = |error: reqwest::Error| unavailable(url, &chain(&error.without_url()));
        let mut answer = self.0.get(url).send().await.map_err(failed)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            status => return Err(unavailable(url, &format!("answers {status}"))),
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(failed)? {
            if body.len().saturating_add(part.len()) > MAX {
                return Err(unavailable(url, "is too large"));
            }
            body.extend_from_slice(&part);
        }
        Ok(Some(body))
    }
}

/// Refuses what is no http or https URL.
pub(crate) fn check(url: &str) -> Result<(), WitnessError> {
    let is_http = |url: &reqwest::Url| ["http", "https"].contains(&url.scheme());
    match reqwest::Url::parse(url) {
        Ok(url) if is_http(&url) => Ok(()),
        _ => Err(WitnessError::Usage(format!("{url:?} is no http or https URL"))),
    }
}

/// The text of an error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn unavailable(url: &str, what: &str) -> WitnessError {
    WitnessError::Unavailable { url: url.to_owned(), what: what.to_owned() }
}

//! Reads documents of a log, from files and over HTTP.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use edgepass_log::TileId;
use reqwest::StatusCode;

use crate::exit::Failure;
use crate::output;

/// The largest document: a full tile has 8 KiB, a note at most 64 KiB.
const MAX: usize = 64 << 10;
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most tiles of one proof.
const MAX_TILES: usize = 64;

/// The text of a file, or of the document at an http or https URL.
pub(super) async fn text(place: &str) -> anyhow::Result<String> {
    if !place.starts_with("https://") && !place.starts_with("http://") {
        return output::read_text(Path::new(place));
    }
    let octets = get(&client()?, place).await?;
    let octets = octets.with_context(|| format!("{place} does not exist"))?;
    String::from_utf8(octets).with_context(|| format!("{place} is no text"))
}

/// The tiles of the log that is published at `url`. In place of a partial tile that is gone comes the
/// full one.
pub(super) async fn tiles(url: &str, ids: &[TileId]) -> anyhow::Result<HashMap<TileId, Vec<u8>>> {
    if ids.len() > MAX_TILES {
        bail!("a proof of more than {MAX_TILES} tiles");
    }
    let client = client()?;
    let mut tiles = HashMap::new();
    for id in ids {
        if let Some(hashes) = get(&client, &format!("{url}/{id}")).await? {
            tiles.insert(*id, hashes);
        } else if !id.is_full()
            && let Some(hashes) = get(&client, &format!("{url}/{}", id.full())).await?
        {
            tiles.insert(id.full(), hashes);
        }
    }
    Ok(tiles)
}

fn client() -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder().user_agent(edgepass_client::USER_AGENT);
    Ok(client.timeout(TIMEOUT).build()?)
}

/// The document at a URL. `None`: there is none.
async fn get(client: &reqwest::Client, url: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let unavailable =
        |what: String| anyhow::Error::new(Failure::Unavailable).context(format!("{url}: {what}"));
    let answer = client.get(url).send().await;
    let mut answer = answer.map_err(|error| unavailable(error.without_url().to_string()))?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
        status => return Err(unavailable(format!("answers {status}"))),
    }
    let body = edgepass_client::bounded(&mut answer, MAX).await;
    match body.map_err(|error| unavailable(error.to_string()))? {
        Some(body) => Ok(Some(body)),
        None => Err(unavailable("is too large".to_owned())),
    }
}

//! Checks the public endpoints: headers, clock, keys and every status list.

use std::time::Duration;

use chrono::DateTime;
use edgepass_issuer::paths::{AGGREGATION, JWK_SET, STATUS_HEAD};
use edgepass_issuer::publish::edition;
use edgepass_issuer::status_act::unpublished;
use edgepass_issuer::{Config, Store};
use edgepass_jose::{Algorithm, JwkSet};
use edgepass_verify::documents::metadata;
use reqwest::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE,
    DATE, ETAG, HeaderMap, IF_NONE_MATCH, ORIGIN,
};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use super::Report;
use crate::commands::MAX_DOCUMENT;
use crate::host;
use edgepass_client::bounded;

/// The response to a request for a document at its public URL.
struct Seen {
    headers: HeaderMap,
    body: Vec<u8>,
}

pub(super) async fn look<S: Store>(
    config: &Config,
    store: &S,
    client: &Client,
    report: &mut Report,
) -> anyhow::Result<()> {
    let behind = unpublished(store, host::now()).await?;
    if behind.is_empty() {
        report.good("publication", "every recorded act is in a published list");
    } else {
        let says =
            format!("{} lists are not up to date; is `edgepass serve` running?", behind.len());
        report.bad("publication", says);
    }
    let url = metadata::metadata_url(&config.issuer);
    let Some(seen) = get(client, &url, "application/json", report).await else { return Ok(()) };
    clock(&seen.headers, report);
    let members: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    if members.get("issuer").and_then(Value::as_str) == Some(&config.issuer) {
        report.good("metadata", format!("{url} names {}", config.issuer));
    } else {
        report.bad("metadata", format!("{url} does not name {} as its issuer", config.issuer));
    }
    let base = &config.status.base_uri;
    let url = format!("{base}/{JWK_SET}");
    let Some(seen) = get(client, &url, "application/jwk-set+json", report).await else {
        return Ok(());
    };
    headers(config, client, &url, &seen.headers, report).await;
    let keys = JwkSet::parse(&seen.body, &Algorithm::ALL, edgepass_crypto::is_sound);
    let Ok(keys) = keys else {
        report.bad("JWK Set", format!("{url} is not a valid JWK Set"));
        return Ok(());
    };
    let own = store.keys().await?;
    let ours: Vec<&str> = own.published().map(|key| key.key_id.as_str()).collect();
    let theirs: Vec<&str> = keys.keys().iter().filter_map(|key| key.key_id()).collect();
    let (missing, more) = (
        ours.iter().find(|key_id| !theirs.contains(key_id)),
        theirs.iter().find(|key_id| !ours.contains(key_id)),
    );
    match (missing, more) {
        (None, None) => {
            report.good("JWK Set", format!("{} keys, exactly those of this issuer", theirs.len()))
        }
        (Some(key_id), _) => report.bad("JWK Set", format!("key {key_id} is missing")),
        (None, Some(key_id)) => {
            report.bad(
                "JWK Set",
                format!("key {key_id} does not belong to this issuer, or was withdrawn"),
            );
        }
    }
    let url = format!("{base}/{AGGREGATION}");
    let Some(seen) = get(client, &url, "application/json", report).await else { return Ok(()) };
    let named: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let uris = named.get("status_lists").and_then(Value::as_array).cloned().unwrap_or_default();
    lists(client, &uris, &keys, config, report).await;
    if config.status.head {
        head(client, &keys, config, report).await;
    }
    Ok(())
}

/// Checks the status head: a key of the served JWK Set signed it, it is new by this clock, and a request
/// that is to be held is held.
async fn head(client: &Client, keys: &JwkSet, config: &Config, report: &mut Report) {
    let url = format!("{}/{STATUS_HEAD}", config.status.base_uri);
    let Some(seen) = get(client, &url, "application/statushead+jwt", report).await else {
        report.bad(
            "status head",
            "verifiers refuse tokens without it: let it through, or write head = \"ignore\" in [revocation]",
        );
        return;
    };
    let head = match edition::read_head(&seen.body, &url, keys) {
        Ok(head) => head,
        Err(error) => {
            report.bad("status head", format!("{url}: {error}"));
            return;
        }
    };
    let skew = config.revocation.clock_skew();
    let (now, millis) = (host::now(), |time: Duration| format!("{} ms", time.as_millis()));
    match (now.since(head.issued_at), head.issued_at.since(now)) {
        (_, Some(ahead)) if ahead > skew => report.bad(
            "status head",
            format!("signed {} from now: the clocks differ by more than clock_skew", millis(ahead)),
        ),
        (Some(age), _) if age > skew => report.bad(
            "status head",
            format!("signed {} ago: a cache repeats it, or the clocks differ", millis(age)),
        ),
        (age, _) => {
            let (lists, age) = (head.list_count(), millis(age.unwrap_or_default()));
            report.good("status head", format!("names {lists} lists, signed {age} ago"));
        }
    }
    let Some(wait) = head.wait else {
        report.good(
            "watch",
            "the source holds no requests; verifiers ask for the head every refresh interval",
        );
        return;
    };
    let held = client
        .get(format!("{url}?after={}", head.number))
        .header("prefer", format!("wait={}", HELD_FOR.as_secs()))
        .timeout(HELD_FOR.saturating_add(Duration::from_secs(5)));
    let asked = Instant::now();
    match held.send().await {
        Ok(answer) if answer.status() == StatusCode::OK => {
            let (took, is_held) = (asked.elapsed(), answer.headers().contains_key("preference-applied"));
            if is_held || took >= HELD_FOR {
                let longest = humantime(wait.as_secs());
                report.good("watch", format!("a request is held for up to {longest}; one of 1s took {}", millis(took)));
            } else {
                report.warn("watch", format!("{url} does not hold a request with Prefer: wait; does a proxy drop the field or the query?"));
            }
        }
        _ => report.warn("watch", format!("{url}: a request that is held fails; revocations take effect after up to the deadline")),
    }
}

/// The time for which a request is to be held.
const HELD_FOR: Duration = Duration::from_secs(1);

/// Checks every list in the aggregation: a key of the served JWK Set signed the list, `sub` is its
/// URI, and it has not expired. Stops at a list that cannot be fetched.
async fn lists(
    client: &Client,
    uris: &[Value],
    keys: &JwkSet,
    config: &Config,
    report: &mut Report,
) {
    let now = host::now().numeric_date().seconds();
    let max_bytes = (*edgepass_issuer::config::LIST_CAPACITIES.end() as usize) / 4;
    let (mut good, mut soonest) = (0_u32, u64::MAX);
    for uri in uris.iter().filter_map(Value::as_str) {
        let Some(seen) = get(client, uri, "application/statuslist+jwt", report).await else {
            return;
        };
        let body = String::from_utf8_lossy(&seen.body);
        match edition::read(&body, uri, keys, max_bytes) {
            Ok(claims) if claims.expiration <= now => {
                report.bad("status list", format!("{uri} has expired"));
            }
            Ok(claims) => {
                good = good.saturating_add(1);
                soonest = soonest.min(claims.expiration.saturating_sub(now));
            }
            Err(error) => report.bad("status list", format!("{uri}: {error}")),
        }
        if good == 1 {
            headers(config, client, uri, &seen.headers, report).await;
        }
    }
    if good as usize == uris.len() && good > 0 {
        let soonest = humantime(soonest);
        report.good("status lists", format!("{good}, each valid for at least {soonest}"));
    } else if uris.is_empty() {
        report.bad("status lists", "the aggregation names none; is `edgepass serve` running?");
    }
}

async fn get(client: &Client, url: &str, media_type: &str, report: &mut Report) -> Option<Seen> {
    let request = client
        .get(url)
        .header(CACHE_CONTROL, "no-cache")
        .header(ORIGIN, "https://doctor.example")
        .header(ACCEPT_ENCODING, "identity");
    let Ok(mut response) = request.send().await else {
        report.bad("reachable", format!("{url} does not answer; is `edgepass serve` running?"));
        return None;
    };
    if response.status() != StatusCode::OK {
        report.bad("reachable", format!("{url} answers {}", response.status().as_u16()));
        return None;
    }
    let headers = response.headers().clone();
    let found = text(&headers, CONTENT_TYPE.as_str());
    if edgepass_verify::documents::fetch::media_type(found) != media_type {
        report.bad("media type", format!("{url} is not served as {media_type}"));
    }
    match bounded(&mut response, MAX_DOCUMENT).await {
        Ok(Some(body)) => Some(Seen { headers, body }),
        Ok(None) => {
            report.bad("reachable", format!("{url}: the response is larger than 4 MiB"));
            None
        }
        Err(_) => {
            report.bad("reachable", format!("{url}: the response ended early"));
            None
        }
    }
}

/// Checks caching, CORS, validators and compression, which a proxy in front may have changed.
async fn headers(
    config: &Config,
    client: &Client,
    url: &str,
    headers: &HeaderMap,
    report: &mut Report,
) {
    let max_age = config.freshness.shared_max_age();
    let caching = text(headers, CACHE_CONTROL.as_str());
    let directives = caching.split(',').map(str::trim);
    let ages = directives.filter_map(|directive| directive.split_once('='));
    let ages = ages.filter(|(name, _)| ["max-age", "s-maxage"].contains(name));
    let ages = ages.filter_map(|(_, seconds)| seconds.parse::<u64>().ok());
    match ages.max() {
        Some(seconds) if Duration::from_secs(seconds) <= max_age => {}
        Some(_) => {
            let says = format!("{url}: Cache-Control {caching:?} exceeds shared_max_age");
            report.bad("caching", says);
        }
        None => report.bad("caching", format!("{url}: Cache-Control has no max-age")),
    }
    if text(headers, ACCESS_CONTROL_ALLOW_ORIGIN.as_str()) != "*" {
        report.warn("CORS", format!("{url} does not allow web pages, such as the inspector, to read it (Access-Control-Allow-Origin is not *)"));
    }
    let etag = text(headers, ETAG.as_str()).to_owned();
    let again = client.get(url).header(IF_NONE_MATCH, &etag).header(ACCEPT_ENCODING, "gzip");
    match again.send().await {
        Ok(again) if !etag.is_empty() && again.status() == StatusCode::NOT_MODIFIED => {}
        Ok(_) => report.warn(
            "validators",
            format!("{url} does not answer its own ETag in If-None-Match with 304"),
        ),
        Err(_) => report.bad("reachable", format!("{url} does not answer")),
    }
    let zipped = client.get(url).header(ACCEPT_ENCODING, "gzip").send().await;
    let zipped =
        zipped.is_ok_and(|answer| text(answer.headers(), CONTENT_ENCODING.as_str()) == "gzip");
    if !zipped {
        report.warn("compression", format!("{url} is not compressed for clients that accept gzip"));
    }
}

/// Compares the local clock with the `Date` of a response. A difference of more than 2 s, or a
/// missing `Date`, is a warning; one of more than 10 s is a failure.
fn clock(headers: &HeaderMap, report: &mut Report) {
    let there = DateTime::parse_from_rfc2822(text(headers, DATE.as_str()));
    let Ok(there) = there else {
        report.warn("clock", "the response has no valid Date to compare with");
        return;
    };
    let here = i64::try_from(host::now().numeric_date().seconds()).unwrap_or(i64::MAX);
    let apart = here.abs_diff(there.timestamp());
    if apart <= 2 {
        report.good("clock", "agrees with the served Date");
    } else if apart <= 10 {
        report.warn("clock", format!("{apart} s from the Date that is served"));
    } else {
        report.bad(
            "clock",
            format!("the clock differs by {apart} s from the served Date, more than verifiers tolerate (10 s)"),
        );
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn humantime(seconds: u64) -> String {
    edgepass_verify::policy::duration::DurationText(Duration::from_secs(seconds)).to_string()
}

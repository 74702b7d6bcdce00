//! What a target shows of the issuer.

use std::collections::BTreeSet;

use bytes::Bytes;
use edgepass_jose::{Algorithm, JwkSet};
use edgepass_status_list::{Bits, StatusList, StatusType};
use futures_util::stream::{self, StreamExt};

use super::PublishedList;
use crate::config::LIST_CAPACITIES;
use crate::keys::{OpenError, newest};
use crate::list_id::{is_list_id, window_end};
use crate::paths::{AGGREGATION, JWK_SET, LISTS};
use crate::publish::target::{Target, TargetError};
use crate::publish::{AT_ONCE, edition};
use crate::status_index::RETIRE_AFTER;
use crate::storage::{ListState, StoredKeys};

/// The documents of the issuer at a target.
pub struct Shown {
    /// Name of the target.
    pub target: String,
    /// The reason why not everything was read. `None`: everything was.
    pub problem: Option<NotShown>,
    pub(super) set: Option<PublishedSet>,
    pub(super) lists: Vec<PublishedList>,
}

/// A JWK Set at a target.
pub(super) struct PublishedSet {
    pub(super) text: Bytes,
    pub(super) keys: JwkSet,
    /// The member `iat`, in seconds.
    pub(super) issued_at: u64,
}

/// The reason why not all documents of a target were read.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum NotShown {
    /// The target does not answer.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The target holds no JWK Set, or no aggregation that names a list of this issuer.
    #[error("it holds no documents of this issuer")]
    Nothing,
    /// The JWK Set cannot be read, or has no `iat`.
    #[error("its JWK Set is not one that this issuer wrote")]
    KeySet,
    /// A list cannot be read, or is not signed by a key of the backup or of the target's JWK Set. Holds the
    /// list's name.
    #[error("its list {0} is not signed by a key of this issuer")]
    List(String),
    /// A document has an `iat` more than five minutes from now.
    #[error("its documents are dated in the future; check this machine's clock")]
    Future,
}

/// The backup that targets are compared with.
pub struct Backup<'b> {
    base_uri: &'b str,
    lists: &'b [ListState],
    keys: JwkSet,
}

impl<'b> Backup<'b> {
    /// Describes a backup: the base of the issuer's URIs, without a trailing slash, and the backup's lists and
    /// keys.
    ///
    /// # Errors
    ///
    /// [`OpenError::JwkSet`].
    pub fn new(
        base_uri: &'b str,
        lists: &'b [ListState],
        keys: &StoredKeys,
    ) -> Result<Self, OpenError> {
        Ok(Self { base_uri, lists, keys: newest(keys)? })
    }
}

impl Shown {
    /// Reads what a target shows: its JWK Set, and every list that its aggregation or the backup names and
    /// that has not retired. `now` is in seconds.
    pub async fn read(target: &dyn Target, backup: &Backup<'_>, now: u64) -> Self {
        let target_name = target.name().to_owned();
        let mut shown = Self { target: target_name, problem: None, set: None, lists: Vec::new() };
        shown.problem = shown.fill(target, backup, now).await.err();
        shown
    }

    /// Whether the target shows a list.
    pub fn shows(&self, list_id: &str) -> bool {
        self.lists.iter().any(|list| list.id == list_id)
    }

    async fn fill(
        &mut self,
        target: &dyn Target,
        backup: &Backup<'_>,
        now: u64,
    ) -> Result<(), NotShown> {
        let text = body(target, JWK_SET).await?.ok_or(NotShown::Nothing)?;
        let aggregation = body(target, AGGREGATION).await?.ok_or(NotShown::Nothing)?;
        let named = named(&aggregation, backup.base_uri);
        // Another issuer's documents name no list of this one.
        if named.is_empty() {
            return Err(NotShown::Nothing);
        }
        let set = &*self.set.insert(PublishedSet::read(text, now)?);
        let own = backup.lists.iter().map(|list| list.id.clone());
        let ids: BTreeSet<String> = named.into_iter().chain(own).collect();
        let is_live =
            |id: &String| window_end(id).is_some_and(|end| end.saturating_add(RETIRE_AFTER) > now);
        let reads = ids.into_iter().filter(is_live).map(async |id| {
            let path = format!("{LISTS}{id}");
            let Some(text) = body(target, &path).await? else { return Ok(None) };
            let uri = format!("{}/{path}", backup.base_uri);
            let read = [&backup.keys, &set.keys]
                .iter()
                .find_map(|keys| published_list(id.clone(), &text, &uri, keys));
            match read {
                None => Err(NotShown::List(id)),
                Some(list) if is_future(list.issued_at, now) => Err(NotShown::Future),
                list => Ok(list),
            }
        });
        let reads: Vec<_> = stream::iter(reads).buffer_unordered(AT_ONCE).collect().await;
        let mut outcome = Ok(());
        for read in reads {
            match read {
                Ok(list) => self.lists.extend(list),
                Err(problem) => outcome = outcome.and(Err(problem)),
            }
        }
        outcome
    }
}

impl PublishedSet {
    fn read(text: Bytes, now: u64) -> Result<Self, NotShown> {
        let keys = JwkSet::parse(&text, &Algorithm::ALL, edgepass_crypto::is_sound)
            .map_err(|_| NotShown::KeySet)?;
        let issued_at = keys.issued_at().ok_or(NotShown::KeySet)?.seconds();
        if is_future(issued_at, now) {
            return Err(NotShown::Future);
        }
        Ok(Self { text, keys, issued_at })
    }
}

async fn body(target: &dyn Target, path: &str) -> Result<Option<Bytes>, TargetError> {
    Ok(target.read(path).await?.map(|live| live.body))
}

/// Names of this issuer's lists in an aggregation, some thousands at most.
fn named(aggregation: &[u8], base_uri: &str) -> Vec<String> {
    let aggregation: serde_json::Value = serde_json::from_slice(aggregation).unwrap_or_default();
    let lists = aggregation.get("status_lists").and_then(|lists| lists.as_array());
    let prefix = format!("{base_uri}/{LISTS}");
    let id = |uri: &serde_json::Value| Some(uri.as_str()?.strip_prefix(&prefix)?.to_owned());
    let ids = lists.into_iter().flatten().filter_map(id);
    ids.filter(|id| is_list_id(id)).take(MAX_LISTS).collect()
}

/// Reads a list as a verifier would. `None`: it is not signed by one of these keys, or no list that this
/// issuer writes.
fn published_list(id: String, text: &[u8], uri: &str, keys: &JwkSet) -> Option<PublishedList> {
    let claims = edition::read(std::str::from_utf8(text).ok()?, uri, keys, MAX_BYTES).ok()?;
    let (list, number) = (&claims.list, claims.number);
    let is_own = matches!(list.bits(), Bits::One | Bits::Two) && number < MAX_NUMBER;
    let capacity = u32::try_from(list.entries()).ok().filter(|_| is_own)?;
    let none = StatusList::all_valid(list.bits(), capacity);
    let status = |index: u64| match list.status(index)? {
        StatusType::Valid => None,
        StatusType::Suspended => Some((u32::try_from(index).ok()?, StatusType::Suspended)),
        _ => Some((u32::try_from(index).ok()?, StatusType::Invalid)),
    };
    Some(PublishedList {
        window_end: window_end(&id)?,
        id,
        capacity,
        bits: list.bits(),
        number,
        issued_at: claims.issued_at,
        statuses: list.may_differ(&none).filter_map(status).collect(),
    })
}

/// Whether a time is so far ahead that no clock in order wrote it. Both are in seconds.
fn is_future(time: u64, now: u64) -> bool {
    time > now.saturating_add(CLOCKS_DIFFER)
}

/// The most by which two clocks in order differ, in seconds.
const CLOCKS_DIFFER: u64 = 5 * 60;
/// Maximum number of lists that are read. A verifier knows at most 1024 lists of an issuer.
const MAX_LISTS: usize = 4096;
/// Inflated size of the largest list, in bytes: two bits for each index.
const MAX_BYTES: usize = *LIST_CAPACITIES.end() as usize / 4;
/// No list reaches this `number`, so that it can still be raised.
const MAX_NUMBER: u64 = 1 << 52;

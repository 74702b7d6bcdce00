//! A store on either database, as the configuration says.

use std::collections::HashMap;

use edgepass_issuer::access::AccessRequest;
use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::audit::leaf::Leaf;
use edgepass_issuer::breach::Incident;
use edgepass_issuer::log::stored::{LogExtension, StoredLog};
use edgepass_issuer::misuse::{self, Finding, Rules};
use edgepass_issuer::new_act::{NewAct, Plan, RecordedAct};
use edgepass_issuer::policy::version::{PolicyUser, PolicyVersion, StoredPolicy};
use edgepass_issuer::replacement::Replaced;
use edgepass_issuer::restore::{Adopted, Restoration, RestoreStore};
use edgepass_issuer::rewrap::{RewrapStore, Rewrapped};
use edgepass_issuer::storage::{
    AccessFilter, AccessStore, ActStore, Added, AuditStore, Channel, IncidentStore, KeyChange,
    KeyStore, ListEdition, ListState, ListStore, LogStore, MisuseStore, NewList, NewNotice,
    NewToken, Notice, Page, PolicyStore, Recorded, StoreError, StoreState, StoredKeys, TokenFilter,
    TokenRecord, TokenStore, UsageStore,
};
use edgepass_issuer::usage::{
    Outcome, Reported, Reporter, TokenUse, UsageBy, UsageFilter, UsageSum,
};
use edgepass_issuer::used_id::UsedId;
use edgepass_log::{Tile, TileId};
use edgepass_status_list::StatusType;
use edgepass_verify::UnixMillis;

use crate::{PostgresStore, SqliteStore};

/// The issuer's tables in an SQLite file or a PostgreSQL database.
pub enum AnyStore {
    /// In a file.
    Sqlite(SqliteStore),
    /// On a server.
    Postgres(PostgresStore),
}

impl AnyStore {
    /// Closes every connection.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }

    /// What is wrong with an SQLite file, as [`SqliteStore::damage`]. A server looks after its own files.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    pub async fn damage(&self) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Sqlite(store) => store.damage().await,
            Self::Postgres(_) => Ok(Vec::new()),
        }
    }
}

/// Implements a trait by the store that there is.
macro_rules! forward {
    ($($of:ident { $(fn $name:ident($($argument:ident: $kind:ty),*) -> $outcome:ty;)* })*) => {
        $(
            impl $of for AnyStore {
                $(
                    async fn $name(&self, $($argument: $kind),*) -> $outcome {
                        match self {
                            Self::Sqlite(store) => $of::$name(store, $($argument),*).await,
                            Self::Postgres(store) => $of::$name(store, $($argument),*).await,
                        }
                    }
                )*
            }
        )*
    };
}

forward! {
    KeyStore {
        fn keys() -> Result<StoredKeys, StoreError>;
        fn change_keys(change: &KeyChange, entry: &AuditEntry) -> Result<bool, StoreError>;
        fn mark_keys_published(changed_at: u64, now: u64) -> Result<(), StoreError>;
    }
    PolicyStore {
        fn record_policy(version: &PolicyVersion, user: &PolicyUser) -> Result<u64, StoreError>;
        fn policy(number: Option<u64>) -> Result<Option<StoredPolicy>, StoreError>;
    }
    TokenStore {
        fn record_issue(token: &NewToken, entry: &AuditEntry) -> Result<Recorded, StoreError>;
        fn use_once(id: UsedId, now: u64) -> Result<bool, StoreError>;
        fn forget_tokens(expired_before: u64, most: u32) -> Result<u32, StoreError>;
        fn erase_tokens(subject: &str, expired_before: u64) -> Result<u64, StoreError>;
        fn token(jwt_id: &str) -> Result<Option<TokenRecord>, StoreError>;
        fn named_tokens(jwt_ids: &[&str]) -> Result<Vec<TokenRecord>, StoreError>;
        fn tokens(filter: &TokenFilter, page: Page) -> Result<Vec<TokenRecord>, StoreError>;
        fn agreement_after(after: &str) -> Result<Option<String>, StoreError>;
        fn is_agreement_used(agreement: &str, after: u64) -> Result<bool, StoreError>;
    }
    ListStore {
        fn open_list(list: &NewList, room: u32) -> Result<(), StoreError>;
        fn lists(retired_before: u64) -> Result<Vec<ListState>, StoreError>;
        fn next_edition(list_id: &str, now: u64) -> Result<ListEdition, StoreError>;
        fn statuses(list_id: &str) -> Result<Vec<(u32, StatusType)>, StoreError>;
        fn mark_published(list_id: &str, changes: u64) -> Result<(), StoreError>;
    }
    ActStore {
        fn plan_act(act: &NewAct) -> Result<Plan, StoreError>;
        fn record_act(act: &NewAct, plan: Plan) -> Result<Option<RecordedAct>, StoreError>;
        fn continue_acts() -> Result<bool, StoreError>;
        fn due_replacements(now: UnixMillis) -> Result<Vec<Replaced>, StoreError>;
        fn forget_replacement(jwt_id: &str) -> Result<(), StoreError>;
        fn end_act(id: u64) -> Result<bool, StoreError>;
    }
    AuditStore {
        fn record(entry: &AuditEntry) -> Result<(), StoreError>;
        fn erase_personal(positions: &[u64], entry: &AuditEntry) -> Result<(), StoreError>;
        fn forget_erased() -> Result<bool, StoreError>;
        fn audit(since_ms: u64, page: Page) -> Result<Vec<(u64, AuditEntry)>, StoreError>;
    }
    LogStore {
        fn log() -> Result<Option<StoredLog>, StoreError>;
        fn epoch() -> Result<Option<String>, StoreError>;
        fn begin_log(log: &StoredLog) -> Result<(), StoreError>;
        fn leaf_texts(after: u64, most: u32) -> Result<Vec<String>, StoreError>;
        fn leaves(after: u64, most: u32) -> Result<Vec<(u64, Leaf)>, StoreError>;
        fn log_tiles(tiles: &[TileId]) -> Result<Vec<Tile>, StoreError>;
        fn extend_log(extension: &LogExtension) -> Result<bool, StoreError>;
    }
    UsageStore {
        fn add_usage(reports: &[Reported], rules: &Rules<'_>) -> Result<(Vec<Outcome>, Vec<Finding>), StoreError>;
        fn token_uses(seqs: &[u64]) -> Result<HashMap<u64, TokenUse>, StoreError>;
        fn usage_sums(filter: &UsageFilter, by: UsageBy, most: u32) -> Result<Vec<UsageSum>, StoreError>;
        fn reporters() -> Result<Vec<Reporter>, StoreError>;
        fn forget_usage(day: u64, isolates_ms: u64, most: u32) -> Result<u64, StoreError>;
    }
    MisuseStore {
        fn findings(page: Page) -> Result<Vec<Finding>, StoreError>;
        fn finding(id: u64) -> Result<Option<Finding>, StoreError>;
        fn open_findings(now_ms: Option<u64>, most: u32) -> Result<Vec<Finding>, StoreError>;
        fn set_outcome(id: u64, change: (misuse::Outcome, misuse::Outcome)) -> Result<bool, StoreError>;
        fn set_told(id: u64, told_ms: Option<u64>, again_ms: Option<u64>) -> Result<(), StoreError>;
    }
    AccessStore {
        fn add_access(request: &AccessRequest, entry: &AuditEntry, notices: &[NewNotice]) -> Result<Added, StoreError>;
        fn change_access(seen: u64, request: &AccessRequest, entry: &AuditEntry, notices: &[NewNotice]) -> Result<bool, StoreError>;
        fn access(id: &str) -> Result<Option<AccessRequest>, StoreError>;
        fn access_of(role: &str, client_id: &str, subject: &str) -> Result<Vec<AccessRequest>, StoreError>;
        fn accesses(filter: &AccessFilter, page: Page) -> Result<Vec<(u64, AccessRequest)>, StoreError>;
        fn unsettled_access() -> Result<Vec<AccessRequest>, StoreError>;
        fn settle_access(id: &str) -> Result<(), StoreError>;
        fn open_notices(channel: Channel, now_ms: u64) -> Result<Vec<Notice>, StoreError>;
        fn set_notice_told(id: u64, again_ms: Option<u64>) -> Result<(), StoreError>;
        fn erase_access(subject: &str, now: UnixMillis) -> Result<u64, StoreError>;
        fn forget_access(before: u64, most: u32) -> Result<u64, StoreError>;
    }
    IncidentStore {
        fn add_incident(incident: &Incident, entry: &AuditEntry) -> Result<(), StoreError>;
        fn change_incident(seen: u64, incident: &Incident, entry: &AuditEntry) -> Result<bool, StoreError>;
        fn incident(id: &str) -> Result<Option<Incident>, StoreError>;
        fn incidents(page: Page) -> Result<Vec<(u64, Incident)>, StoreError>;
    }
    StoreState {
        fn is_writable() -> bool;
        fn changed() -> ();
        fn version() -> Result<i64, StoreError>;
    }
    RestoreStore {
        fn record_restoration(restoration: &Restoration) -> Result<Option<Adopted>, StoreError>;
    }
    RewrapStore {
        fn rewrap_keys(seen: u64, keys: &[Rewrapped], log: Option<&Rewrapped>, entry: &AuditEntry) -> Result<bool, StoreError>;
    }
}

//! What the issuer needs of its storage, and no more.

use std::error::Error;
use std::future::Future;

use edgepass_status_list::{Bits, StatusType};

use crate::audit::AuditEntry;
use crate::new_act::{NewAct, Plan, RecordedAct};
use crate::signing_key::{KeyState, SealedKey};
use crate::status_index::ExpiryWindow;
use crate::token_facts::TokenFacts;

/// Durable storage. A method that returns `Ok` has made its change durable, whole, together with
/// its audit entry; one that returns `Err` has changed nothing.
pub trait Store: Send + Sync + 'static {
    /// The keys, oldest first, and when the set last changed (seconds).
    fn keys(&self) -> impl Future<Output = Result<StoredKeys, StoreError>> + Send;

    /// Change the keys, if nobody has since they were looked at; false when somebody has.
    fn change_keys(
        &self,
        change: &KeyChange,
        entry: &AuditEntry,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The set as of `changed_at` is published everywhere at `now` (seconds).
    fn mark_keys_published(
        &self,
        changed_at: u64,
        now: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Record a token and take an index for it, never given before, in a list of its window.
    fn record_issue(
        &self,
        token: &NewToken,
        entry: &AuditEntry,
    ) -> impl Future<Output = Result<Recorded, StoreError>> + Send;

    /// Open a list for a window in which no list has room for `room` more tokens.
    fn open_list(
        &self,
        list: &NewList,
        room: u32,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Look what an act would change, without holding anybody up.
    fn plan_act(&self, act: &NewAct) -> impl Future<Output = Result<Plan, StoreError>> + Send;

    /// Record an act with its audit entry, from a plan that looked at all but the last tokens. `None`
    /// when another act was recorded since: plan again.
    fn record_act(
        &self,
        act: &NewAct,
        plan: Plan,
    ) -> impl Future<Output = Result<Option<RecordedAct>, StoreError>> + Send;

    /// Change some statuses of the oldest act that is not finished. False when there is none.
    fn continue_acts(&self) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// In a moment, issue tokens again that an act would have selected. False when some may have been issued
    /// already, because it took too long: act again.
    fn end_act(&self, id: u64) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The token called `jwt_id`.
    fn token(
        &self,
        jwt_id: &str,
    ) -> impl Future<Output = Result<Option<TokenRecord>, StoreError>> + Send;

    /// Tokens, newest first.
    fn tokens(
        &self,
        filter: &TokenFilter,
    ) -> impl Future<Output = Result<Vec<TokenRecord>, StoreError>> + Send;

    /// Every list whose window ends after `retired_before` (seconds).
    fn lists(
        &self,
        retired_before: u64,
    ) -> impl Future<Output = Result<Vec<ListState>, StoreError>> + Send;

    /// Take the next `number` of a list and read what it must say, in one transaction.
    fn next_edition(
        &self,
        list_id: &str,
        now: u64,
    ) -> impl Future<Output = Result<ListEdition, StoreError>> + Send;

    /// A list edition that covers `changes` is being served.
    fn mark_published(
        &self,
        list_id: &str,
        changes: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether changes can be recorded: the last could be, or one is tried now that changes nothing.
    fn is_writable(&self) -> impl Future<Output = bool> + Send;

    /// A value that changes with every commit, whichever process made it.
    fn version(&self) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// The audit trail, oldest first.
    fn audit(&self) -> impl Future<Output = Result<Vec<AuditEntry>, StoreError>> + Send;
}

/// The keys as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredKeys {
    /// Oldest first.
    pub keys: Vec<SealedKey>,
    /// When the set last changed, in seconds; every change makes it later. 0: there are no keys.
    pub changed_at: u64,
}

impl StoredKeys {
    /// The keys of the published set.
    pub fn published(&self) -> impl Iterator<Item = &SealedKey> {
        self.keys.iter().filter(|key| key.state.is_published())
    }

    /// The first key of this use.
    pub fn in_state(&self, state: KeyState) -> Option<&SealedKey> {
        self.keys.iter().find(|key| key.state == state)
    }
}

/// A change of keys.
#[derive(Clone, Debug)]
pub struct KeyChange {
    /// [`StoredKeys::changed_at`] as it was when they were looked at.
    pub seen: u64,
    /// In seconds.
    pub now: u64,
    /// By `kid`: what keys are for from now on, and when they retire, in seconds. The private half of
    /// a key that is withdrawn is deleted.
    pub uses: Vec<(String, KeyState, Option<u64>)>,
    /// New keys.
    pub new: Vec<SealedKey>,
}

/// A token about to be issued. Not printable: it carries a secret.
pub struct NewToken {
    /// What it will say.
    pub facts: TokenFacts,
    /// The list to open, should there be none with room in its window.
    pub list: NewList,
}

/// A list about to be opened. Not printable: it carries a secret.
pub struct NewList {
    /// Which tokens' statuses it holds.
    pub window: ExpiryWindow,
    /// How many.
    pub capacity: u32,
    /// How many bits each takes.
    pub bits: Bits,
    /// The secret of its permutation.
    pub secret: [u8; 32],
}

/// What came of recording a token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Recorded {
    /// It is durable; its status lies here.
    At(StatusSlot),
    /// Nothing was recorded: tokens like this one are being revoked or suspended.
    BeingRevoked,
}

/// Where a token's status lies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusSlot {
    /// The list's name, the last segment of its URI.
    pub list_id: String,
    /// `idx`.
    pub index: u64,
}

/// A token as recorded.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// What it says.
    pub facts: TokenFacts,
    /// What its list says of it.
    pub status: StatusType,
    /// Where its status lies.
    pub slot: StatusSlot,
}

/// Which tokens to list.
#[derive(Clone, Debug, Default)]
pub struct TokenFilter {
    /// Only this role.
    pub role: Option<String>,
    /// Only tokens neither expired at this second nor revoked nor suspended.
    pub live_at: Option<u64>,
}

/// How far a list is published.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListState {
    /// Its name.
    pub id: String,
    /// When its window ends, in seconds: its tokens have expired by then.
    pub window_end: u64,
    /// Changes by acts that are finished: what an edition must cover.
    pub changes: u64,
    /// Changes covered by the edition being served.
    pub published: u64,
    /// `number` of the newest edition that was made; 0: there is none.
    pub number: u64,
}

/// What one edition of a list must say.
#[derive(Clone, Debug)]
pub struct ListEdition {
    /// Its name.
    pub id: String,
    /// Strictly greater than any edition's before.
    pub number: u64,
    /// `iat` in seconds: not before any edition's before.
    pub issued_at: u64,
    /// How many indices the list has.
    pub capacity: u32,
    /// How many bits a status takes.
    pub bits: Bits,
    /// Indices of the tokens that are not valid, and their statuses.
    pub statuses: Vec<(u32, StatusType)>,
    /// How often suspended tokens of the list were resumed.
    pub resumes: u64,
    /// The changes this edition covers.
    pub changes: u64,
}

/// Storage did not do it. The cause is for logs; it may name files and tables, never token text.
#[derive(Debug, thiserror::Error)]
#[error("storage is unavailable")]
pub struct StoreError(#[source] pub Box<dyn Error + Send + Sync>);

//! Traits for the issuer's storage, and the data that their methods exchange.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;

use edgepass_log::{Tile, TileId};
use edgepass_status_list::{Bits, StatusType};
use edgepass_verify::UnixMillis;

use crate::access::{AccessRequest, State};
use crate::audit::AuditEntry;
use crate::audit::leaf::Leaf;
use crate::breach::Incident;
use crate::log::stored::{LogExtension, StoredLog};
use crate::misuse::{self, Finding, Rules};
use crate::new_act::{NewAct, Plan, RecordedAct};
use crate::policy::version::{PolicyUser, PolicyVersion, StoredPolicy};
use crate::replacement::{Replaced, Replaces};
use crate::signing_key::{KeyState, SealedKey};
use crate::status_index::ExpiryWindow;
use crate::token_facts::TokenFacts;
use crate::usage::{Outcome, Reported, Reporter, TokenUse, UsageBy, UsageFilter, UsageSum};
use crate::used_id::{IdKind, UsedId};

/// Everything that the issuer stores: the traits below, each with one duty.
///
/// A method that returns `Ok` has made its change durable as a whole, together with its audit
/// entry, if it has one. A method that returns `Err` has changed nothing; after
/// [`StoreError::NotSynced`] this is unknown, and after [`StoreError::Unavailable`] as well if the
/// database is on a server: the connection may have ended while it committed.
pub trait Store:
    KeyStore
    + PolicyStore
    + TokenStore
    + ListStore
    + ActStore
    + AuditStore
    + LogStore
    + UsageStore
    + MisuseStore
    + AccessStore
    + IncidentStore
    + StoreState
{
}

impl<S> Store for S where
    S: KeyStore
        + PolicyStore
        + TokenStore
        + ListStore
        + ActStore
        + AuditStore
        + LogStore
        + UsageStore
        + MisuseStore
        + AccessStore
        + IncidentStore
        + StoreState
{
}

/// The policy versions.
pub trait PolicyStore: Send + Sync + 'static {
    /// Records that `user` begins to use a policy version, with an audit entry. Records nothing if
    /// the version is known and `serve` uses it already or `user` is not `serve`. Returns the
    /// version's number.
    fn record_policy(
        &self,
        version: &PolicyVersion,
        user: &PolicyUser,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// The version with this number. Without a number, the one that `serve` changed to last.
    /// `None`: there is none.
    fn policy(
        &self,
        number: Option<u64>,
    ) -> impl Future<Output = Result<Option<StoredPolicy>, StoreError>> + Send;
}

/// The signing keys.
pub trait KeyStore: Send + Sync + 'static {
    /// All keys, withdrawn ones too, oldest first, and the time of the last change.
    fn keys(&self) -> impl Future<Output = Result<StoredKeys, StoreError>> + Send;

    /// Changes the keys if they are still those of [`KeyChange::seen`]. `false`: they have been
    /// changed since, and this call changed nothing.
    fn change_keys(
        &self,
        change: &KeyChange,
        entry: &AuditEntry,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Records `now` as the time at which the keys of the set are published everywhere. A key that
    /// has such a time keeps it. No effect if the keys have changed since `changed_at`. Both times
    /// are in seconds.
    fn mark_keys_published(
        &self,
        changed_at: u64,
        now: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The records of issued tokens.
pub trait TokenStore: Send + Sync + 'static {
    /// Records a token and takes an unused index for it, in a list with the window and the bits of
    /// `token.list`. Opens `token.list` if there is none with a free index.
    fn record_issue(
        &self,
        token: &NewToken,
        entry: &AuditEntry,
    ) -> impl Future<Output = Result<Recorded, StoreError>> + Send;

    /// Records the use of an identifier. `false`: it was used before. `now` is in seconds.
    fn use_once(
        &self,
        id: UsedId,
        now: u64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Deletes records of tokens that expired before a time, in seconds. Looks at the `most` oldest
    /// records, and returns how many it deleted. The newest record of all stays, so that positions
    /// keep rising.
    fn forget_tokens(
        &self,
        expired_before: u64,
        most: u32,
    ) -> impl Future<Output = Result<u32, StoreError>> + Send;

    /// Deletes the records of tokens of a subject that expired before a time, in seconds, as
    /// [`TokenStore::forget_tokens`] does, so that nothing of them stays readable. Returns how many went; 0: none
    /// is left.
    fn erase_tokens(
        &self,
        subject: &str,
        expired_before: u64,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// The record of the token with this `jti`. `None`: there is none.
    fn token(
        &self,
        jwt_id: &str,
    ) -> impl Future<Output = Result<Option<TokenRecord>, StoreError>> + Send;

    /// The records of the tokens with these `jti`, in any order. One that there is not is left out.
    fn named_tokens(
        &self,
        jwt_ids: &[&str],
    ) -> impl Future<Output = Result<Vec<TokenRecord>, StoreError>> + Send;

    /// One page of the records that pass the filter. Positions are those in the order of issue.
    fn tokens(
        &self,
        filter: &TokenFilter,
        page: Page,
    ) -> impl Future<Output = Result<Vec<TokenRecord>, StoreError>> + Send;

    /// The first agreement after `after`, in the order of their octets, under which a recorded token was issued.
    fn agreement_after(
        &self,
        after: &str,
    ) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;

    /// Whether a token under this agreement expires after this time, in seconds, and is not revoked. It may be
    /// suspended.
    fn is_agreement_used(
        &self,
        agreement: &str,
        after: u64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// The status lists and their editions.
pub trait ListStore: Send + Sync + 'static {
    /// Opens a list, unless a list of the same window and bits has room for `room` more tokens.
    fn open_list(
        &self,
        list: &NewList,
        room: u32,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The lists with a window that ends after `retired_before`, in seconds. The window that ends
    /// first comes first.
    fn lists(
        &self,
        retired_before: u64,
    ) -> impl Future<Output = Result<Vec<ListState>, StoreError>> + Send;

    /// Takes the next `number` of a list and reads the content of that edition, in one transaction.
    /// `now` is in seconds. An error may leave a number unused.
    fn next_edition(
        &self,
        list_id: &str,
        now: u64,
    ) -> impl Future<Output = Result<ListEdition, StoreError>> + Send;

    /// Index and status of each token of the list that is not valid, in any order, without a new
    /// `number`. Empty for an unknown list.
    fn statuses(
        &self,
        list_id: &str,
    ) -> impl Future<Output = Result<Vec<(u32, StatusType)>, StoreError>> + Send;

    /// Records that every target serves an edition of the list that covers its first `changes`
    /// changes. A count below the recorded one has no effect.
    fn mark_published(
        &self,
        list_id: &str,
        changes: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Acts on statuses.
pub trait ActStore: Send + Sync + 'static {
    /// Reads which tokens an act would change. Changes nothing. Issuing goes on meanwhile.
    fn plan_act(&self, act: &NewAct) -> impl Future<Output = Result<Plan, StoreError>> + Send;

    /// Records an act with its audit entry, adds the tokens issued since the plan, and blocks the
    /// issuing of matching tokens for a revocation or suspension by filter. `None`: nothing was
    /// recorded, so plan again. Another act was recorded since the plan or is unfinished, or a
    /// suspension would now select a token in a list of one bit.
    fn record_act(
        &self,
        act: &NewAct,
        plan: Plan,
    ) -> impl Future<Output = Result<Option<RecordedAct>, StoreError>> + Send;

    /// Changes some statuses of the oldest unfinished act, and renews the act's block on issuing.
    /// `false`: every act is finished.
    fn continue_acts(&self) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The replaced tokens whose grace has passed, some at a time.
    fn due_replacements(
        &self,
        now: UnixMillis,
    ) -> impl Future<Output = Result<Vec<Replaced>, StoreError>> + Send;

    /// Forgets a replaced token that has been revoked.
    fn forget_replacement(
        &self,
        jwt_id: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Lifts the act's block on issuing one second from now. `false`: the block had already
    /// expired, so matching tokens may have been issued; repeat the act. `true` also if the act has
    /// no block.
    fn end_act(&self, id: u64) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// The audit trail.
pub trait AuditStore: Send + Sync + 'static {
    /// Records an entry of an act that changes nothing else.
    fn record(&self, entry: &AuditEntry) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Erases the personal values of the entries at these positions, and records `entry`.
    fn erase_personal(
        &self,
        positions: &[u64],
        entry: &AuditEntry,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes what was erased from the files of the storage. `false`: something is still in a file, since
    /// the storage is being read.
    fn forget_erased(&self) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// One page of the entries that were recorded at `since_ms` or later, in milliseconds. Each has
    /// its position in the trail.
    fn audit(
        &self,
        since_ms: u64,
        page: Page,
    ) -> impl Future<Output = Result<Vec<(u64, AuditEntry)>, StoreError>> + Send;
}

/// The log of the audit trail. The first entry of the trail has position 1, and index 0 in the log.
pub trait LogStore: Send + Sync + 'static {
    /// The log with its newest checkpoint. `None`: it was not begun.
    fn log(&self) -> impl Future<Output = Result<Option<StoredLog>, StoreError>> + Send;

    /// The epoch since the last restored backup. `None`: none was restored.
    fn epoch(&self) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;

    /// Begins the log. No effect if there is one.
    fn begin_log(&self, log: &StoredLog) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The texts of the entries after the first `after`, in order, at most `most`.
    /// [`StoreError::Corrupt`] if an entry is missing between them.
    fn leaf_texts(
        &self,
        after: u64,
        most: u32,
    ) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;

    /// The entries at positions after `after`, in order, at most `most`.
    fn leaves(
        &self,
        after: u64,
        most: u32,
    ) -> impl Future<Output = Result<Vec<(u64, Leaf)>, StoreError>> + Send;

    /// The tiles with these places and widths, in any order. One that the log does not have, or not
    /// in this width yet, is left out.
    fn log_tiles(
        &self,
        tiles: &[TileId],
    ) -> impl Future<Output = Result<Vec<Tile>, StoreError>> + Send;

    /// Extends the log. `false`: its origin or size is not the expected one, and nothing changed.
    fn extend_log(
        &self,
        extension: &LogExtension,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// How tokens are used.
pub trait UsageStore: Send + Sync + 'static {
    /// Adds up reports, all of them or none, and records what the rules find in them. Returns the outcome of
    /// each report and the new findings.
    fn add_usage(
        &self,
        reports: &[Reported],
        rules: &Rules<'_>,
    ) -> impl Future<Output = Result<(Vec<Outcome>, Vec<Finding>), StoreError>> + Send;

    /// The use of the tokens at these positions in the order of issue. One that was never reported is left
    /// out.
    fn token_uses(
        &self,
        seqs: &[u64],
    ) -> impl Future<Output = Result<HashMap<u64, TokenUse>, StoreError>> + Send;

    /// Sums of uses, at most `most`, by name.
    fn usage_sums(
        &self,
        filter: &UsageFilter,
        by: UsageBy,
        most: u32,
    ) -> impl Future<Output = Result<Vec<UsageSum>, StoreError>> + Send;

    /// Who has reported, by `client_id`.
    fn reporters(&self) -> impl Future<Output = Result<Vec<Reporter>, StoreError>> + Send;

    /// Deletes some of the sums of days before `day`, in days since 1970-01-01, and forgets some isolates
    /// whose last report ended before `isolates_ms`. Returns how many rows went.
    fn forget_usage(
        &self,
        day: u64,
        isolates_ms: u64,
        most: u32,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

/// What rules about misuse have found.
pub trait MisuseStore: Send + Sync + 'static {
    /// The findings after or before a position, which is their number.
    fn findings(&self, page: Page)
    -> impl Future<Output = Result<Vec<Finding>, StoreError>> + Send;

    /// A finding. `None`: there is none with this number.
    fn finding(&self, id: u64) -> impl Future<Output = Result<Option<Finding>, StoreError>> + Send;

    /// The oldest findings whose act is pending. With a time in milliseconds also those of which the webhook may
    /// be told by then.
    fn open_findings(
        &self,
        now_ms: Option<u64>,
        most: u32,
    ) -> impl Future<Output = Result<Vec<Finding>, StoreError>> + Send;

    /// Records what became of a finding. `false`: it was not what it is changed from.
    fn set_outcome(
        &self,
        id: u64,
        change: (misuse::Outcome, misuse::Outcome),
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Records an attempt to tell a finding to the webhook: that it was taken at `told_ms`, or else when it may
    /// be tried again. Without either it is given up.
    fn set_told(
        &self,
        id: u64,
        told_ms: Option<u64>,
        again_ms: Option<u64>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Requests for access.
pub trait AccessStore: Send + Sync + 'static {
    /// Records a new request.
    fn add_access(
        &self,
        request: &AccessRequest,
        entry: &AuditEntry,
        notices: &[NewNotice],
    ) -> impl Future<Output = Result<Added, StoreError>> + Send;

    /// Records a change of a request whose version was `seen`. `false`: it was changed meanwhile, and nothing
    /// was recorded.
    fn change_access(
        &self,
        seen: u64,
        request: &AccessRequest,
        entry: &AuditEntry,
        notices: &[NewNotice],
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The request with this name. `None`: there is none.
    fn access(
        &self,
        id: &str,
    ) -> impl Future<Output = Result<Option<AccessRequest>, StoreError>> + Send;

    /// The pending, approved and denied requests for a role whose tokens have this client and subject, the newest first,
    /// at most 100.
    fn access_of(
        &self,
        role: &str,
        client_id: &str,
        subject: &str,
    ) -> impl Future<Output = Result<Vec<AccessRequest>, StoreError>> + Send;

    /// One page of requests, each with its position.
    fn accesses(
        &self,
        filter: &AccessFilter,
        page: Page,
    ) -> impl Future<Output = Result<Vec<(u64, AccessRequest)>, StoreError>> + Send;

    /// Some requests that were ended and whose tokens may not be revoked yet.
    fn unsettled_access(
        &self,
    ) -> impl Future<Output = Result<Vec<AccessRequest>, StoreError>> + Send;

    /// Records that the tokens of an ended request are revoked.
    fn settle_access(&self, id: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes who a person is from requests that are closed. Returns from how many.
    fn erase_access(
        &self,
        subject: &str,
        now: UnixMillis,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Deletes some requests that were closed before a time, in seconds, and have nothing left to do. Returns how
    /// many went.
    fn forget_access(
        &self,
        before: u64,
        most: u32,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// The notices that a channel may be told of by now, the oldest first, at most 50.
    fn open_notices(
        &self,
        channel: Channel,
        now_ms: u64,
    ) -> impl Future<Output = Result<Vec<Notice>, StoreError>> + Send;

    /// Records that a notice was not taken, and when it may be tried again. Deletes it without a time: it was taken,
    /// or is given up.
    fn set_notice_told(
        &self,
        id: u64,
        again_ms: Option<u64>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Incidents.
pub trait IncidentStore: Send + Sync + 'static {
    /// Records a new incident.
    fn add_incident(
        &self,
        incident: &Incident,
        entry: &AuditEntry,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Records a change of an incident whose version was `seen`. `false`: it was changed meanwhile, and nothing was
    /// recorded.
    fn change_incident(
        &self,
        seen: u64,
        incident: &Incident,
        entry: &AuditEntry,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The incident with this name. `None`: there is none.
    fn incident(
        &self,
        id: &str,
    ) -> impl Future<Output = Result<Option<Incident>, StoreError>> + Send;

    /// One page of incidents, each with its position.
    fn incidents(
        &self,
        page: Page,
    ) -> impl Future<Output = Result<Vec<(u64, Incident)>, StoreError>> + Send;
}

/// The outcome of recording a request for access.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Added {
    /// It is recorded.
    Recorded,
    /// Nothing was recorded: this request broke the glass of the same role and was not reviewed, or this request
    /// of the same party for the role is pending.
    InTheWay(String),
    /// Nothing was recorded: the party has asked [`MOST_ASKED`] times within an hour.
    TooMany,
}

/// The most requests of a party within an hour.
pub const MOST_ASKED: u64 = 20;

/// Conditions for [`AccessStore::accesses`]. `None` sets no condition.
#[derive(Clone, Debug, Default)]
pub struct AccessFilter {
    /// Only requests by this party, as the audit trail has it.
    pub asked_by: Option<String>,
    /// Only requests for this role.
    pub role: Option<String>,
    /// Only requests that were recorded in this state.
    pub recorded: Option<State>,
    /// Only requests that broke the glass and were not reviewed.
    pub unreviewed: bool,
}

/// How somebody is told of something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Channel {
    /// The webhook of `[alerts]`.
    Webhook,
    /// E-mail.
    Mail,
}

impl Channel {
    /// As stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Mail => "mail",
        }
    }
}

/// Something to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewNotice {
    /// To whom.
    pub channel: Channel,
    /// When it happened, in milliseconds.
    pub at_ms: u64,
    /// Whether it goes before others.
    pub is_urgent: bool,
    /// A JSON object: `type`, `to` (an e-mail address) and `data`.
    pub document: String,
}

/// A recorded notice that was not taken yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// Its number.
    pub id: u64,
    /// As recorded.
    pub at_ms: u64,
    /// As recorded.
    pub document: String,
    /// Attempts to tell it.
    pub attempts: u32,
}

/// The state of the storage itself.
pub trait StoreState: Send + Sync + 'static {
    /// Whether changes can be recorded: the last change succeeded, or a write that changes nothing
    /// succeeds now.
    fn is_writable(&self) -> impl Future<Output = bool> + Send;

    /// Ends when another commit was made since the last call, as far as the storage tells by itself. It
    /// may miss commits, or never end: look at [`StoreState::version`] as well.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// A value that changes with every commit of any process. Comparable with values of the same
    /// open store only.
    fn version(&self) -> impl Future<Output = Result<i64, StoreError>> + Send;
}

/// The keys as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredKeys {
    /// The keys, oldest first.
    pub keys: Vec<SealedKey>,
    /// Time of the last change, in seconds. Every change increases it. 0: there are no keys.
    pub changed_at: u64,
}

impl StoredKeys {
    /// The keys of the published set: all but the withdrawn ones.
    pub fn published(&self) -> impl Iterator<Item = &SealedKey> {
        self.keys.iter().filter(|key| key.state.is_published())
    }

    /// The oldest key in this state.
    pub fn in_state(&self, state: KeyState) -> Option<&SealedKey> {
        self.keys.iter().find(|key| key.state == state)
    }
}

/// A change of the signing keys.
#[derive(Clone, Debug)]
pub struct KeyChange {
    /// [`StoredKeys::changed_at`] of the keys that the change is based on.
    pub seen: u64,
    /// Time of the change, in seconds.
    pub now: u64,
    /// New states by `kid`. The time, in seconds, is when the key leaves the set, if that is
    /// decided. The private half of a withdrawn key is deleted.
    pub states: Vec<(String, KeyState, Option<u64>)>,
    /// Keys to add.
    pub new: Vec<SealedKey>,
}

/// A token to be recorded. It has no `Debug`, since its list carries a secret.
#[derive(Clone)]
pub struct NewToken {
    /// The facts to record.
    pub facts: TokenFacts,
    /// The list to open if the token's window has none with a free index.
    pub list: NewList,
    /// `jti` of the token of the party that acts, if the token is exchanged for another party.
    pub actor: Option<String>,
    /// Identifiers that the token's request uses, each of which may be used once.
    pub once: Vec<UsedId>,
    /// The token that this one replaces.
    pub replaces: Option<Replaces>,
}

/// A list to be opened. It has no `Debug`, since it carries a secret.
#[derive(Clone)]
pub struct NewList {
    /// The window in which the list's tokens expire.
    pub window: ExpiryWindow,
    /// The number of indices.
    pub capacity: u32,
    /// The bits of a status.
    pub bits: Bits,
    /// The secret of the permutation that gives the indices
    /// ([`permute`](crate::status_index::permute)).
    pub secret: [u8; 32],
}

/// The outcome of recording a token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Recorded {
    /// The record is durable. Holds the location of the token's status.
    At(StatusSlot),
    /// Nothing was recorded: an act blocks the issuing of matching tokens.
    Blocked,
    /// Nothing was recorded: an identifier of [`NewToken::once`] was used before. Says which.
    Used(IdKind),
    /// Nothing was recorded: the token that this one would replace is not valid any more.
    NotReplaced,
    /// Nothing was recorded: the token's parent is unknown, has expired, or is not valid any more.
    NotChild,
    /// Nothing was recorded: access does not stand, or ends before the token.
    NoAccess,
}

/// The location of a token's status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusSlot {
    /// Name of the list: the last segment of its URI.
    pub list_id: String,
    /// Index in the list: `idx`.
    pub index: u64,
}

/// The record of a token.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// The recorded facts.
    pub facts: TokenFacts,
    /// The recorded status. The published list may still show the previous one.
    pub status: StatusType,
    /// The location of the status.
    pub slot: StatusSlot,
    /// The position in the order of issue.
    pub seq: u64,
}

impl TokenRecord {
    /// The state of the token at a time in seconds: `revoked`, `expired`, `key withdrawn`, `live`,
    /// `suspended` or `unknown`.
    pub fn state(&self, is_key_withdrawn: bool, now: u64) -> &'static str {
        state(self.status, &self.facts, is_key_withdrawn, now)
    }
}

/// The state of a token with this status: [`TokenRecord::state`].
pub(crate) fn state(
    status: StatusType,
    facts: &TokenFacts,
    is_key_withdrawn: bool,
    now: u64,
) -> &'static str {
    match status {
        StatusType::Invalid => "revoked",
        _ if now >= facts.expiration => "expired",
        _ if is_key_withdrawn => "key withdrawn",
        StatusType::Valid => "live",
        StatusType::Suspended => "suspended",
        StatusType::Unknown(_) => "unknown",
    }
}

/// A page of records in the order of their positions.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Only records after this position.
    pub after: u64,
    /// Only records before this position.
    pub before: u64,
    /// Whether the last positions come first.
    pub newest_first: bool,
    /// The largest number of records.
    pub most: u32,
}

impl Page {
    /// The first page of `most` records, or the last one if `newest_first`.
    pub fn first(newest_first: bool, most: u32) -> Self {
        Self { after: 0, before: u64::MAX, newest_first, most }
    }
}

/// Conditions for [`TokenStore::tokens`]. `None` sets no condition.
#[derive(Clone, Debug, Default)]
pub struct TokenFilter {
    /// Only tokens of this role.
    pub role: Option<String>,
    /// Only tokens of this client.
    pub client_id: Option<String>,
    /// Only tokens of this subject.
    pub subject: Option<String>,
    /// Only the token with this `jti`.
    pub jwt_id: Option<String>,
    /// Only tokens issued at this time or later, in seconds.
    pub issued_since: Option<u64>,
    /// Only tokens that expire after this time, in seconds, and are neither revoked nor suspended.
    pub live_at: Option<u64>,
    /// Only tokens that expire at this time or earlier, in seconds.
    pub expires_by: Option<u64>,
    /// Only tokens that are used under the agreement with this `id`.
    pub agreement: Option<String>,
    /// Only tokens that were issued under the request for access with this name.
    pub grant: Option<String>,
}

/// The progress of a list's publication.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListState {
    /// Name of the list.
    pub id: String,
    /// End of the list's window, in seconds. All its tokens have expired by then.
    pub window_end: u64,
    /// Number of changes up to the last finished act. A change is one step of an act, which may set
    /// many statuses of the list. An edition must cover these changes.
    pub changes: u64,
    /// Number of changes covered by an edition that every target serves.
    pub published: u64,
    /// `number` of the newest edition. 0: there is none.
    pub number: u64,
}

/// The content of one edition of a list.
#[derive(Clone, Debug)]
pub struct ListEdition {
    /// Name of the list.
    pub id: String,
    /// The claim `number`, greater than that of every earlier edition.
    pub number: u64,
    /// The claim `iat`, in seconds, not before that of any earlier edition.
    pub issued_at: u64,
    /// The number of indices.
    pub capacity: u32,
    /// The bits of a status.
    pub bits: Bits,
    /// Index and status of each token that is not valid, in any order.
    pub statuses: Vec<(u32, StatusType)>,
    /// Number of changes of the list that resumed tokens.
    pub resumes: u64,
    /// Number of changes that the edition covers. Those of an unfinished act are included.
    pub changes: u64,
}

/// The reason why storage did not read or change something. A source is for logs; it may name files
/// and tables, never token text.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The storage does not answer, or cannot be read or written.
    #[error("storage is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// A value that must be unique exists already.
    #[error("storage holds this value already")]
    Duplicate(#[source] Box<dyn Error + Send + Sync>),
    /// The storage holds a value that this program did not write.
    #[error("storage holds an unexpected value")]
    Corrupt(#[source] Box<dyn Error + Send + Sync>),
    /// A sync to disk failed, so the content of the disk is unknown. The process makes no further
    /// change until it is restarted.
    #[error("a sync to disk failed; check the disk, then restart")]
    NotSynced,
}

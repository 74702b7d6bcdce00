//! Access on request (just in time): a role that needs approval is used only while a request for it stands.
//!
//! A request is asked for, approved by as many as the rule says, and ends by itself or earlier. What is
//! approved is what was shown: the digest of role, audience, scope, time, reason and policy version goes with
//! every decision. Tokens are recorded in the same transaction that looks at the request, so that none is
//! issued after it has ended; those that were are revoked by rule.

mod rule;
mod standing;

use edgepass_jose::Scope;
use edgepass_verify::UnixMillis;
use edgepass_verify::policy::duration::DurationText;
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub use self::rule::{ApprovalRule, Party, is_party, whole};
pub use self::standing::GrantError;
use crate::audit::erase::is_person;
use crate::audit::{Act, AuditEntry};
use crate::policy::version::{LivePolicy, sha256};
use crate::policy::{Grant, RefusedByPolicy, TokenRequest};

/// How long a request waits for its decision, in milliseconds.
pub const PENDING_MS: u64 = 60 * 60 * 1000;
/// The longest reason, ticket or comment, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// What is asked for.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ask {
    /// The role.
    pub role: String,
    /// How long access is to last, in seconds.
    pub seconds: u64,
    /// Why.
    pub reason: String,
    /// The ticket about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// The audience, one of the role's. Default: its first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The scope tokens, separated by spaces. Default: all of the role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// When access is to begin, in seconds since 1970. Default: once it is approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
    /// Whether nobody is waited for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// For `break_glass`: the role's name again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// The state of a request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for its decision.
    Pending,
    /// Access is granted, or will begin.
    Approved,
    /// Access was denied.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// Whoever asked took it back.
    Cancelled,
    /// Access is over.
    Ended,
}

impl State {
    /// As stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Ended => "ended",
        }
    }
}

/// What somebody decided about a request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Decision {
    /// Who.
    pub by: String,
    /// The person: [`LivePolicy::person`].
    pub person: String,
    /// Whether it is an approval.
    pub approves: bool,
    /// The digest of what was shown.
    pub digest: String,
    /// When, in milliseconds.
    pub at_ms: u64,
    /// What they say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A request for access.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AccessRequest {
    /// Its name: `ar_` and 22 characters.
    pub id: String,
    /// The state as recorded. [`AccessRequest::state`] takes the time into account.
    pub recorded: State,
    /// The role.
    pub role: String,
    /// The audience.
    pub audience: String,
    /// The scope tokens, separated by spaces.
    pub scope: String,
    /// How long access lasts, in seconds.
    pub seconds: u64,
    /// When it is to begin, in seconds. `None`: once it is approved.
    pub start: Option<u64>,
    /// Who asked, as the audit trail has it.
    pub asked_by: String,
    /// The person who asked: [`LivePolicy::person`].
    pub person: String,
    /// `client_id` of the tokens.
    pub client_id: String,
    /// `sub` of the tokens.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// The ticket.
    pub ticket: Option<String>,
    /// When it was asked for, in milliseconds.
    pub asked_ms: u64,
    /// Whether nobody was waited for.
    pub break_glass: bool,
    /// What was decided.
    pub decisions: Vec<Decision>,
    /// First second of access.
    pub begins: Option<u64>,
    /// First second after access.
    pub ends: Option<u64>,
    /// What the role and its rule were when access was granted: [`LivePolicy::terms`].
    pub terms: Option<String>,
    /// Who ended it, or took it back.
    pub ended_by: Option<String>,
    /// Who looked at what was done with [`AccessRequest::break_glass`] afterwards.
    pub reviewed: Option<Decision>,
    /// Number of changes, so that two at once are noticed.
    pub version: u64,
}

/// The reason why a request is not made, or not changed.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AccessError {
    /// No rule is about the role.
    #[error("the role needs no approval: get a token of it without a request")]
    NotNeeded,
    /// The policy refuses what is asked for.
    #[error(transparent)]
    Policy(#[from] RefusedByPolicy),
    /// The rule does not name who asks.
    #[error("the rule about this role does not name you in may_ask")]
    MayNotAsk,
    /// The rule does not name who decides.
    #[error("the rule about this role does not name you in may_approve")]
    MayNotApprove,
    /// The rule does not name who breaks the glass.
    #[error("the rule about this role does not name you in may_break_glass")]
    MayNotBreakGlass,
    /// The reason is empty, too long, or does not fit the rule.
    #[error(
        "reason: write at most 1,024 bytes without control characters, as the rule's pattern says"
    )]
    Reason,
    /// The ticket is missing, too long, or does not fit the rule.
    #[error("ticket: the rule's pattern says how a ticket is written")]
    Ticket,
    /// The comment is too long.
    #[error("comment: write at most 1,024 bytes without control characters")]
    Comment,
    /// The scope is malformed.
    #[error("scope: write scope tokens, separated by spaces")]
    Scope,
    /// Access is to last too long, or no time. Holds what is allowed.
    #[error("access lasts at least \"1s\" and at most \"{0}\"")]
    Longest(DurationText),
    /// Access is to begin in the past or too late. Holds what is allowed.
    #[error("access begins at most \"{0}\" from now, and not in the past")]
    Start(DurationText),
    /// The second confirmation is missing.
    #[error(
        "break_glass: confirm it by the role's name; those whom the rule names are told at once"
    )]
    Confirm,
    /// Access without an approval is to begin later.
    #[error("break_glass: there is time to ask where access begins later; leave start out")]
    NotLater,
    /// Too many requests within an hour.
    #[error("you have asked 20 times within an hour: wait")]
    TooMany,
    /// An earlier use of break-glass waits for its review. Holds the request.
    #[error(
        "{0} has broken the glass of this role and was not reviewed yet: have it reviewed first"
    )]
    Unreviewed(String),
    /// Whoever asked decides nothing.
    #[error("it is your own request: somebody else decides")]
    Own,
    /// They have decided before.
    #[error("you have decided already")]
    Decided,
    /// What is approved is not what was shown.
    #[error(
        "the request or the policy is not what was shown: look at it again, and approve its digest"
    )]
    Digest,
    /// The request is in another state. Holds it.
    #[error("the request is {}", .0.name())]
    State(State),
    /// A request for the same role waits already. Holds it.
    #[error("you have asked for this role already, by {0}")]
    Asked(String),
    /// Somebody else's request.
    #[error("it is somebody else's request")]
    NotYours,
    /// There is nothing to review.
    #[error("only a request that broke the glass is reviewed, once")]
    NoReview,
}

impl AccessRequest {
    /// A request by `party`, as the policy allows it. It is pending, or approved if it breaks the glass.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub fn ask(
        id: String,
        ask: Ask,
        party: &Party,
        policy: &LivePolicy,
        now: UnixMillis,
    ) -> Result<Self, AccessError> {
        let role = policy.role(&ask.role)?;
        let rule = policy.approval(&role.name).ok_or(AccessError::NotNeeded)?;
        if ask.break_glass {
            if !party.is_among(&rule.may_break_glass) {
                return Err(AccessError::MayNotBreakGlass);
            }
            if ask.start.is_some() {
                return Err(AccessError::NotLater);
            }
            if ask.confirm.as_ref() != Some(&role.name) {
                return Err(AccessError::Confirm);
            }
        } else if !party.is_among(&rule.may_ask) {
            return Err(AccessError::MayNotAsk);
        }
        policy.may_use(&party.name, &role.name)?;
        if !is_text(&ask.reason)
            || !rule.reason.as_deref().is_none_or(|pattern| rule::fits(pattern, &ask.reason))
        {
            return Err(AccessError::Reason);
        }
        let ticket = ask.ticket.as_deref();
        let fits = match (rule.ticket.as_deref(), ticket) {
            (None, ticket) => ticket.is_none_or(is_text),
            (Some(pattern), Some(ticket)) => is_text(ticket) && rule::fits(pattern, ticket),
            (Some(_), None) => false,
        };
        if !fits {
            return Err(AccessError::Ticket);
        }
        if !(1..=rule.longest).contains(&ask.seconds) {
            return Err(AccessError::Longest(DurationText(Duration::from_secs(rule.longest))));
        }
        let seconds = now.numeric_date().seconds();
        let latest = seconds.saturating_add(rule.start_within);
        if ask.start.is_some_and(|start| start > latest || start < seconds) {
            return Err(AccessError::Start(DurationText(Duration::from_secs(rule.start_within))));
        }
        let scope = ask.scope.as_deref().map(Scope::parse).transpose();
        let scope = scope.map_err(|_| AccessError::Scope)?;
        let request = TokenRequest { audience: ask.audience, scope, lifetime: None };
        let grant = policy.grant(role, &request, now)?;
        let (client_id, subject) = recipient(&party.name);
        let mut asked = Self {
            id,
            recorded: State::Pending,
            role: role.name.clone(),
            audience: grant.audience,
            scope: grant.scope.to_string(),
            seconds: ask.seconds,
            start: ask.start,
            asked_by: party.name.clone(),
            person: policy.person(&party.name),
            client_id,
            subject,
            reason: ask.reason,
            ticket: ask.ticket,
            asked_ms: now.0,
            break_glass: ask.break_glass,
            decisions: Vec::new(),
            begins: None,
            ends: None,
            terms: None,
            ended_by: None,
            reviewed: None,
            version: 0,
        };
        if asked.break_glass {
            asked.begin(policy, seconds);
        }
        Ok(asked)
    }

    /// The state at a time.
    pub fn state(&self, now: UnixMillis) -> State {
        let is_over = self.ends.is_some_and(|ends| ends <= now.numeric_date().seconds());
        match self.recorded {
            State::Pending if now.0 >= self.expires_ms() => State::Expired,
            State::Approved if is_over => State::Ended,
            state => state,
        }
    }

    /// When it expires without a decision, in milliseconds.
    pub fn expires_ms(&self) -> u64 {
        self.asked_ms.saturating_add(PENDING_MS)
    }

    /// SHA-256 of what is approved, in hexadecimal: what is asked for, by whom, and under which policy.
    pub fn digest(&self, policy: &LivePolicy) -> String {
        #[derive(Serialize)]
        struct Shown<'r> {
            id: &'r str,
            role: &'r str,
            audience: &'r str,
            scope: &'r str,
            seconds: u64,
            start: Option<u64>,
            asked_by: &'r str,
            client_id: &'r str,
            subject: &'r str,
            reason: &'r str,
            ticket: Option<&'r str>,
            policy: &'r str,
        }
        let shown = Shown {
            id: &self.id,
            role: &self.role,
            audience: &self.audience,
            scope: &self.scope,
            seconds: self.seconds,
            start: self.start,
            asked_by: &self.asked_by,
            client_id: &self.client_id,
            subject: &self.subject,
            reason: &self.reason,
            ticket: self.ticket.as_deref(),
            policy: policy.digest(),
        };
        // A structure of texts and numbers can be written.
        let text = serde_json::to_string(&shown).unwrap_or_default();
        sha256(&text)
    }

    /// Approves or denies the request. `digest` is that of what was shown.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub fn decide(
        &mut self,
        (approves, digest): (bool, &str),
        comment: Option<String>,
        party: &Party,
        policy: &LivePolicy,
        now: UnixMillis,
    ) -> Result<(), AccessError> {
        let rule = policy.approval(&self.role).ok_or(AccessError::MayNotApprove)?;
        if !party.is_among(&rule.may_approve) {
            return Err(AccessError::MayNotApprove);
        }
        let person = policy.person(&party.name);
        if self.person == person {
            return Err(AccessError::Own);
        }
        if self.state(now) != State::Pending {
            return Err(AccessError::State(self.state(now)));
        }
        let shown = self.digest(policy);
        if approves && digest != shown {
            return Err(AccessError::Digest);
        }
        if comment.as_deref().is_some_and(|comment| !is_text(comment)) {
            return Err(AccessError::Comment);
        }
        // An approval of what was shown before the policy changed counts no more.
        let counts = |one: &Decision| !one.approves || one.digest == shown;
        if self.decisions.iter().any(|one| one.person == person && counts(one)) {
            return Err(AccessError::Decided);
        }
        let (by, at_ms) = (party.name.clone(), now.0);
        let digest = shown.clone();
        self.decisions.push(Decision { by, person, approves, digest, at_ms, comment });
        let number = |approving: bool| {
            let all = self.decisions.iter().filter(|one| counts(one) && one.approves == approving);
            u32::try_from(all.count()).unwrap_or(u32::MAX)
        };
        if number(false) >= rule.denials {
            self.recorded = State::Denied;
        } else if number(true) >= rule.approvals {
            self.begin(policy, now.numeric_date().seconds());
        }
        self.changed();
        Ok(())
    }

    /// Takes a pending request back, or ends access.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub fn end(
        &mut self,
        party: &Party,
        policy: &LivePolicy,
        now: UnixMillis,
    ) -> Result<(), AccessError> {
        let is_approver =
            policy.approval(&self.role).is_some_and(|rule| party.is_among(&rule.may_approve));
        self.recorded = match self.state(now) {
            State::Pending if self.is_by(party) => State::Cancelled,
            State::Approved if self.is_by(party) || is_approver => State::Ended,
            State::Pending | State::Approved => return Err(AccessError::NotYours),
            state => return Err(AccessError::State(state)),
        };
        self.ended_by = Some(party.name.clone());
        self.changed();
        Ok(())
    }

    /// Records that somebody has looked at what was done without an approval.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub fn review(
        &mut self,
        comment: Option<String>,
        party: &Party,
        policy: &LivePolicy,
        now: UnixMillis,
    ) -> Result<(), AccessError> {
        // Where the rule is gone, whoever may approve at all reviews: nobody else is named.
        let rule = policy.approval(&self.role);
        if !rule.is_none_or(|rule| party.is_among(&rule.may_approve)) {
            return Err(AccessError::MayNotApprove);
        }
        let person = policy.person(&party.name);
        if self.person == person {
            return Err(AccessError::Own);
        }
        if !self.break_glass || self.reviewed.is_some() {
            return Err(AccessError::NoReview);
        }
        if comment.as_deref().is_some_and(|comment| !is_text(comment)) {
            return Err(AccessError::Comment);
        }
        let (by, digest, at_ms) = (party.name.clone(), self.digest(policy), now.0);
        self.reviewed = Some(Decision { by, person, approves: true, digest, at_ms, comment });
        self.changed();
        Ok(())
    }

    /// Ends it after a backup was restored, in which it may be open although it had ended. `None`: its time is over.
    pub fn end_after_restore(&mut self, policy: u64, now: UnixMillis) -> Option<AuditEntry> {
        if !matches!(self.state(now), State::Pending | State::Approved) {
            return None;
        }
        self.recorded = match self.recorded {
            State::Approved => State::Ended,
            _ => State::Cancelled,
        };
        self.ended_by = Some("restore".to_owned());
        self.changed();
        Some(AuditEntry {
            at_ms: now.0,
            actor: "restore".to_owned(),
            policy: Some(policy),
            act: Act::AccessChanged {
                request: self.id.clone(),
                change: AccessChange::Ended,
                state: self.recorded,
                role: self.role.clone(),
                client_id: self.client_id.clone(),
                subject: self.subject.clone(),
                digest: String::new(),
                ends: self.ends,
                reason: String::new(),
            },
        })
    }

    /// Removes who a person is, from a request that is closed. `false`: it is open, waits for a review, or does not
    /// name them.
    pub fn erase(&mut self, subject: &str, now: UnixMillis) -> bool {
        const ERASED: &str = "erased";
        let is_them = |party: &str| is_person(party, subject);
        if matches!(self.state(now), State::Pending | State::Approved) || self.is_unreviewed() {
            return false;
        }
        let is_theirs = self.subject == subject || is_them(&self.asked_by);
        let mut is_changed = is_theirs;
        if is_theirs {
            (self.asked_by, self.subject) = (ERASED.to_owned(), ERASED.to_owned());
            self.person = ERASED.to_owned();
            (self.reason, self.ticket) = (ERASED.to_owned(), None);
        }
        for decision in self.decisions.iter_mut().chain(&mut self.reviewed) {
            if is_theirs || is_them(&decision.by) {
                (decision.by, decision.comment) = (ERASED.to_owned(), None);
                decision.person = ERASED.to_owned();
                is_changed = true;
            }
        }
        if self.ended_by.as_deref().is_some_and(is_them) {
            self.ended_by = Some(ERASED.to_owned());
            is_changed = true;
        }
        if is_changed {
            self.changed();
        }
        is_changed
    }

    /// Whether access is granted at this time, in seconds.
    pub fn stands(&self, seconds: u64) -> bool {
        self.recorded == State::Approved
            && self.begins.is_some_and(|begins| begins <= seconds)
            && self.ends.is_some_and(|ends| seconds < ends)
    }

    /// Whether nobody has looked at what was done without an approval.
    pub fn is_unreviewed(&self) -> bool {
        self.break_glass && self.reviewed.is_none()
    }

    /// Whether the party asked for it.
    pub fn is_by(&self, party: &Party) -> bool {
        self.asked_by == party.name
    }

    /// What a token request that names no scope or audience asks for.
    pub(crate) fn complete(&self, request: &mut TokenRequest) {
        // A recorded scope has been parsed before.
        let scope = Scope::parse(&self.scope).unwrap_or_default();
        request.scope.get_or_insert(scope);
        request.audience.get_or_insert_with(|| self.audience.clone());
    }

    /// Limits a grant to what was approved. `false`: it goes beyond that.
    pub(crate) fn limit(&self, grant: &mut Grant, seconds: u64) -> bool {
        let approved = Scope::parse(&self.scope).unwrap_or_default();
        let left = self.ends.unwrap_or_default().saturating_sub(seconds);
        grant.lifetime = grant.lifetime.min(left);
        grant.access = Some(self.id.clone());
        grant.scope.missing_in(&approved).is_empty()
            && grant.audience == self.audience
            && grant.lifetime > 0
    }

    /// The audit entry of a change.
    pub fn entry(
        &self,
        change: AccessChange,
        by: &str,
        policy: &LivePolicy,
        now: UnixMillis,
    ) -> AuditEntry {
        let last = match change {
            AccessChange::Reviewed => self.reviewed.as_ref(),
            _ => self.decisions.last(),
        };
        let reason = match change {
            AccessChange::Asked | AccessChange::BrokeGlass => self.reason.clone(),
            AccessChange::Ended => String::new(),
            _ => last.and_then(|one| one.comment.clone()).unwrap_or_default(),
        };
        AuditEntry {
            at_ms: now.0,
            actor: by.to_owned(),
            policy: Some(policy.number()),
            act: Act::AccessChanged {
                request: self.id.clone(),
                change,
                state: self.state(now),
                role: self.role.clone(),
                client_id: self.client_id.clone(),
                subject: self.subject.clone(),
                digest: self.digest(policy),
                ends: self.ends,
                reason,
            },
        }
    }

    fn begin(&mut self, policy: &LivePolicy, now: u64) {
        self.terms = policy.terms(&self.role);
        let begins = self.start.map_or(now, |start| start.max(now));
        self.begins = Some(begins);
        self.ends = Some(begins.saturating_add(self.seconds));
        self.recorded = State::Approved;
    }

    fn changed(&mut self) {
        self.version = self.version.saturating_add(1);
    }
}

/// What happened to a request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessChange {
    /// It was asked for.
    Asked,
    /// Access began without an approval.
    BrokeGlass,
    /// Somebody approved. The state tells whether that was enough.
    Approved,
    /// Somebody denied.
    Denied,
    /// It was taken back, or access was ended.
    Ended,
    /// Somebody looked at what was done without an approval.
    Reviewed,
}

impl AccessChange {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::BrokeGlass => "broke_glass",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Ended => "ended",
            Self::Reviewed => "reviewed",
        }
    }

    /// Whether the e-mail addresses of the rule are told.
    pub fn is_mailed(self) -> bool {
        matches!(self, Self::Asked | Self::BrokeGlass)
    }
}

/// The `client_id` and the `sub` of the tokens of whoever asks.
fn recipient(party: &str) -> (String, String) {
    let own = crate::order::CLIENT.to_owned();
    match party.split_once(':') {
        Some(("client", name)) => (name.to_owned(), name.to_owned()),
        Some((_, name)) => (own, name.to_owned()),
        None => (own, party.to_owned()),
    }
}

/// Whether a character changes how others look: format characters and separators of lines.
fn is_disguise(char: char) -> bool {
    matches!(char, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether a text can be recorded and shown.
fn is_text(text: &str) -> bool {
    (1..=MAX_TEXT_BYTES).contains(&text.len())
        && !text.trim().is_empty()
        && !text.chars().any(|char| char.is_control() || is_disguise(char))
}

//! Misuse: rules of the policy that look at the use of tokens, and what follows.
//!
//! Rules are judged when reports of use arrive, in the same transaction. What a rule finds becomes a
//! [`Finding`]; its act is carried out afterwards. A rule finds a token once. [`Brakes`] bound how many acts
//! follow from rules, whatever is reported.

mod act;
mod judge;

use std::time::Duration;

use edgepass_verify::policy::duration::DurationText;
use serde::{Deserialize, Serialize};

pub use self::judge::{Before, Facts, judge};

/// A rule of the policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Name, unique in the policy.
    pub name: String,
    /// What it finds.
    pub when: When,
    /// What follows.
    pub action: Action,
    /// The roles whose tokens it looks at. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Whether the act is only written down.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a rule finds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum When {
    /// Use from more countries than that within a time.
    Countries(MoreThan),
    /// Use from more autonomous systems than that within a time.
    Networks(MoreThan),
    /// Use at two places, the one after the other, for which somebody would have had to travel faster.
    Travel {
        /// In kilometres per hour.
        faster_than: u32,
    },
    /// More refused requests than that within a time.
    Refusals {
        /// The number of requests.
        more_than: u64,
        /// The time, at most an hour. It is counted in steps of five minutes.
        within: DurationText,
        /// Only with these codes. Empty: all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        codes: Vec<String>,
    },
    /// Use of a revoked token from a country or network from which it was never accepted.
    RevokedElsewhere {},
    /// A first use so long after the token was issued.
    FirstUse {
        /// The time since the issue.
        after: DurationText,
    },
    /// Use of a token whose client is not in the policy any more.
    RemovedClient {},
    /// More requests of a role on one day than so many times the median of its days before.
    Rate {
        /// The factor.
        times: u32,
        /// Only once so many days before had any.
        after_days: u32,
    },
}

/// A number of kinds within a time.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MoreThan {
    /// The number that is still allowed.
    pub more_than: u64,
    /// The time.
    pub within: DurationText,
}

/// What follows from a finding.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// An alert alone.
    Alert,
    /// The token is suspended.
    Suspend,
    /// The token is revoked.
    Revoke,
    /// All tokens of the token's client are revoked.
    RevokeClient,
}

impl Action {
    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Suspend => "suspend",
            Self::Revoke => "revoke",
            Self::RevokeClient => "revoke_client",
        }
    }

    /// Finds an action by its name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Alert, Self::Suspend, Self::Revoke, Self::RevokeClient];
        all.into_iter().find(|action| action.name() == name)
    }
}

/// What bounds the acts that follow from rules.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Brakes {
    /// Acts of all rules within an hour. Default 20.
    pub acts_per_hour: u32,
    /// Acts on tokens of one role within an hour. Default 5.
    pub acts_per_hour_and_role: u32,
    /// Roles whose tokens no rule acts on.
    pub never_roles: Vec<String>,
    /// Clients whose tokens no rule acts on.
    pub never_clients: Vec<String>,
    /// Whether every act is only written down.
    pub dry_run: bool,
}

impl Default for Brakes {
    fn default() -> Self {
        Self {
            acts_per_hour: 20,
            acts_per_hour_and_role: 5,
            never_roles: Vec::new(),
            never_clients: Vec::new(),
            dry_run: false,
        }
    }
}

impl Brakes {
    /// Whether nothing was written about them.
    pub fn are_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Rules and brakes, with the number of their policy version.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'p> {
    /// The rules.
    pub rules: &'p [Rule],
    /// The brakes.
    pub brakes: &'p Brakes,
    /// Whoever may have tokens by the policy: clients, federations, and the issuer's own commands.
    pub clients: &'p [&'p str],
    /// The number of the policy version.
    pub policy: u64,
    /// The time, in milliseconds.
    pub now_ms: u64,
}

/// The time for which acts are counted, in milliseconds.
pub const HOUR_MS: u64 = 60 * 60 * 1000;
/// Most findings within an hour. Further ones are not kept.
pub const MAX_FINDINGS: u64 = 1_000;

/// What became of a finding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The rule only alerts.
    Alert,
    /// The act is to be carried out.
    Pending,
    /// The act was carried out.
    Done,
    /// The act would have been carried out: a dry run.
    DryRun,
    /// The brakes allow no more acts now.
    Capped,
    /// The brakes name the role or the client.
    Never,
    /// The act could not be carried out.
    Failed,
    /// The suspension was undone.
    Undone,
    /// There was nothing left to do: somebody else had done it, or the token was gone.
    Unchanged,
}

impl Outcome {
    const ALL: [Self; 9] = [
        Self::Unchanged,
        Self::Alert,
        Self::Pending,
        Self::Done,
        Self::DryRun,
        Self::Capped,
        Self::Never,
        Self::Failed,
        Self::Undone,
    ];

    /// As stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Pending => "pending",
            Self::Done => "done",
            Self::DryRun => "dry_run",
            Self::Capped => "capped",
            Self::Never => "never",
            Self::Failed => "failed",
            Self::Undone => "undone",
            Self::Unchanged => "unchanged",
        }
    }

    /// Finds an outcome by its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }

    /// Whether it counts as an act for the brakes.
    pub fn is_act(self) -> bool {
        matches!(self, Self::Pending | Self::Done | Self::Failed | Self::Undone | Self::Unchanged)
    }
}

/// What a rule found, before it is recorded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// The rule's name.
    pub rule: String,
    /// What it acts on: the `jti` of a token; for a rate, the role and the day.
    pub subject: String,
    /// The role's name.
    pub role: String,
    /// The claim `client_id`. Empty for a rate.
    pub client_id: String,
    /// What follows.
    pub action: Action,
    /// Whether it is only written down.
    pub dry_run: bool,
    /// What was seen, in a sentence. Made of codes, countries and numbers.
    pub evidence: String,
}

/// A recorded finding.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Its number.
    pub id: u64,
    /// When it was found, in milliseconds.
    pub at_ms: u64,
    /// What was found.
    pub found: Found,
    /// What became of it.
    pub outcome: Outcome,
    /// The policy version whose rule found it.
    pub policy: u64,
    /// Attempts to tell it to the webhook.
    pub attempts: u32,
    /// When the webhook took it, in milliseconds.
    pub told_ms: Option<u64>,
}

/// The outcome that a finding gets when it is recorded. `acts` and `acts_of_role` are the acts of the last
/// hour.
pub fn first_outcome(found: &Found, brakes: &Brakes, acts: u64, acts_of_role: u64) -> Outcome {
    if found.action == Action::Alert {
        return Outcome::Alert;
    }
    if brakes.never_roles.contains(&found.role) || brakes.never_clients.contains(&found.client_id) {
        return Outcome::Never;
    }
    if found.dry_run || brakes.dry_run {
        return Outcome::DryRun;
    }
    let is_full =
        acts >= brakes.acts_per_hour.into() || acts_of_role >= brakes.acts_per_hour_and_role.into();
    if is_full { Outcome::Capped } else { Outcome::Pending }
}

/// The longest window of a rule.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl Rule {
    /// What is wrong with the rule, if anything is.
    pub fn mistake(&self) -> Option<&'static str> {
        let is_time = |time: &DurationText, most: Duration| {
            time.0 >= Duration::from_secs(1) && time.0 <= most
        };
        let is_right = match &self.when {
            When::Countries(kinds) | When::Networks(kinds) => {
                if !(1..=15).contains(&kinds.more_than) {
                    return Some(
                        "more_than is 1 to 15: a token's row has 16 countries or networks",
                    );
                }
                is_time(&kinds.within, LONGEST)
            }
            When::Travel { faster_than } => {
                if *faster_than < 100 {
                    return Some("faster_than is at least 100, in kilometres per hour");
                }
                true
            }
            When::Refusals { more_than, within, .. } => {
                if *more_than == 0 {
                    return Some("more_than is at least 1");
                }
                is_time(within, Duration::from_secs(60 * 60))
            }
            When::FirstUse { after } => is_time(after, LONGEST),
            When::Rate { times, after_days } => {
                if self.action != Action::Alert {
                    return Some("a rate is that of a role: its action is \"alert\"");
                }
                if *times < 2 || !(3..=60).contains(after_days) {
                    return Some("times is at least 2, and after_days 3 to 60");
                }
                true
            }
            When::RevokedElsewhere {} => {
                if matches!(self.action, Action::Suspend | Action::Revoke) {
                    return Some("the token is revoked already: \"alert\" or \"revoke_client\"");
                }
                true
            }
            When::RemovedClient {} => true,
        };
        (!is_right)
            .then_some("its time is at least 1s, and at most an hour for refusals, else a day")
    }
}

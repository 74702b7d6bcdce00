//! The reasons why answers to fetches are refused, and their counts.

use crate::documents::fetch::{DocumentKind, Failure};

/// The reason why an answer was refused. The held copy remains in use within its limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// There is no usable response.
    Failed(Failure),
    /// The response or the inflated list is larger than the policy allows.
    TooLarge,
    /// A redirect of a document that is not a status list, a redirect out of the configured
    /// prefixes, or the fourth in turn.
    Redirect,
    /// The media type is not that of a status list or head. It is not checked for other documents.
    MediaType,
    /// The body is not the expected document: truncated, not JSON, or with a claim or member of the
    /// wrong form.
    Malformed,
    /// `typ` is not `statuslist+jwt`, or `statushead+jwt` for a head.
    Type,
    /// No key of the held JWK Set fits the status list or head, or the policy does not allow its
    /// algorithm.
    Key,
    /// The signature of the status list or head is not valid.
    Signature,
    /// `sub` of the status list or head is not its URI, or the metadata has no acceptable `jwks_uri` for
    /// this issuer.
    Subject,
    /// The status list or JWK Set has expired: by its `exp`, or a list by its maximum age.
    Expired,
    /// The status list is not valid yet: its `nbf` is in the future.
    NotYetValid,
    /// The document is older than the held copy, or than the edition that the held status head names.
    Older,
    /// The status list or JWK Set has a deadline, and came with an `Age` past which no copy is
    /// used: a cache keeps it for longer than `shared_max_age`. Or the status head was signed so long
    /// ago that it confirms nothing: a cache keeps it, or the clocks of issuer and verifier differ.
    TooOld,
    /// Status 304 (Not Modified) for a copy that is not held.
    NotHeld,
}

impl Refused {
    /// All reasons. That of a status stands for every status.
    pub const ALL: [Self; 20] = [
        Self::Failed(Failure::Unknown),
        Self::Failed(Failure::Dns),
        Self::Failed(Failure::Connection),
        Self::Failed(Failure::Tls),
        Self::Failed(Failure::Timeout),
        Self::Failed(Failure::Status(0)),
        Self::Failed(Failure::Age),
        Self::TooLarge,
        Self::Redirect,
        Self::MediaType,
        Self::Malformed,
        Self::Type,
        Self::Key,
        Self::Signature,
        Self::Subject,
        Self::Expired,
        Self::NotYetValid,
        Self::Older,
        Self::TooOld,
        Self::NotHeld,
    ];

    /// Returns the stable name of the reason, for metrics and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed(Failure::Unknown) => "unreachable",
            Self::Failed(Failure::Dns) => "dns",
            Self::Failed(Failure::Connection) => "connection",
            Self::Failed(Failure::Tls) => "tls",
            Self::Failed(Failure::Timeout) => "timeout",
            Self::Failed(Failure::Status(_)) => "status",
            Self::Failed(Failure::Age) => "age",
            Self::TooLarge => "too_large",
            Self::Redirect => "redirect",
            Self::MediaType => "media_type",
            Self::Malformed => "malformed",
            Self::Type => "typ",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Subject => "sub",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Older => "older",
            Self::TooOld => "too_old",
            Self::NotHeld => "not_held",
        }
    }
}

/// Why a document is not available: the last answer that was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cause {
    /// The document that the answer was for.
    pub document: DocumentKind,
    /// The reason why the answer was refused.
    pub refused: Refused,
}

/// The number of refused answers for each reason.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RefusedCounts([u64; Refused::ALL.len()]);

impl RefusedCounts {
    pub(crate) fn count(&mut self, refused: Refused) {
        let mut counts = Refused::ALL.into_iter().zip(&mut self.0);
        let counted = counts.find(|(reason, _)| reason.name() == refused.name());
        if let Some((_, count)) = counted {
            *count = count.saturating_add(1);
        }
    }

    /// Returns each reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Refused, u64)> {
        Refused::ALL.into_iter().zip(self.0)
    }

    /// Returns the count of one reason.
    pub fn of(&self, refused: Refused) -> u64 {
        let mut counts = self.iter();
        counts.find(|(reason, _)| reason.name() == refused.name()).map_or(0, |(_, count)| count)
    }
}

//! Answers that were not taken in, counted by what was wrong with them.

/// What was wrong with an answer. The held copy stays until its time is up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// No answer in time, or one that is no success.
    Unreachable,
    /// Longer than allowed, or it inflates to more than allowed.
    TooLarge,
    /// A redirect where none is followed, outside the configured prefixes, or one too many.
    Redirect,
    /// Another media type than the document's.
    MediaType,
    /// Not the document that it should be: truncated, not JSON, a claim of the wrong form.
    Malformed,
    /// `typ` is not that of a status list token.
    Type,
    /// Not signed by a key of the set, or by an algorithm that is not allowed.
    Key,
    /// The signature does not verify.
    Signature,
    /// `sub` is not the URI that was asked for; the metadata are another issuer's.
    Subject,
    /// `exp` has passed.
    Expired,
    /// Older than the held copy.
    Older,
    /// "Not modified", of a copy that is not held.
    NotHeld,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Unreachable,
        Self::TooLarge,
        Self::Redirect,
        Self::MediaType,
        Self::Malformed,
        Self::Type,
        Self::Key,
        Self::Signature,
        Self::Subject,
        Self::Expired,
        Self::Older,
        Self::NotHeld,
    ];

    /// Its stable name, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TooLarge => "too_large",
            Self::Redirect => "redirect",
            Self::MediaType => "media_type",
            Self::Malformed => "malformed",
            Self::Type => "typ",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Subject => "sub",
            Self::Expired => "expired",
            Self::Older => "older",
            Self::NotHeld => "not_held",
        }
    }
}

/// How often each was seen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RefusedCounts([u64; Refused::ALL.len()]);

impl RefusedCounts {
    pub(crate) fn count(&mut self, refused: Refused) {
        if let Some(count) = self.0.get_mut(refused as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// Each with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Refused, u64)> {
        Refused::ALL.into_iter().zip(self.0)
    }

    /// How often this one was seen.
    pub fn of(&self, refused: Refused) -> u64 {
        self.0.get(refused as usize).copied().unwrap_or_default()
    }
}

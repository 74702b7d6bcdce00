//! The checks of the values in `edgepass.toml`, which give a [`Config`](super::Config).

use std::time::Duration;

use edgepass_jose::Scope;
use edgepass_status_list::Bits;
use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::policy::freshness::{DEFAULT_MAX_LIST_AGE, FreshnessConfig, Schedule};
use toml::Spanned;

use super::error::{ConfigError, Mistake};
use super::written::{ClientText, KeysText, RoleText, TokensText};
use super::{LIFETIME_CAP, LIST_CAPACITIES};
use crate::client_secret::SecretHash;
use crate::keys::KeySchedule;
use crate::policy::{Client, Role};
use crate::publish::document::MAX_AGE;
use crate::selection::StatusChange;

/// The deadline of JWK Sets if `[revocation]` sets none. Verifiers apply the same one.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
/// The largest leeway of verifiers, five minutes, and as much again for clocks and restarts.
const OVERLAP_MARGIN: Duration = Duration::from_secs(10 * 60);

/// The least time for which a key is published before it signs, in seconds. Verifiers of other
/// people, such as `jose` and PyJWT, look for a new key only 30 s after they last asked.
const LEAST_SETTLING: u64 = 30;

/// The text of a file, to find the line of a mistake.
#[derive(Clone, Copy)]
pub(super) struct Lines<'t>(pub(super) &'t str);

impl Lines<'_> {
    /// The mistake with its line, which is found from an offset in bytes.
    pub(super) fn mistake(self, offset: usize, mistake: Mistake) -> ConfigError {
        let before = self.0.bytes().take(offset);
        let line = before.filter(|byte| *byte == b'\n').count().saturating_add(1);
        ConfigError { line, mistake }
    }

    /// Applies a check to a value of the file. A mistake gets the line in which the value starts.
    pub(super) fn check<T, C>(
        self,
        written: Spanned<T>,
        check: impl FnOnce(T) -> Result<C, Mistake>,
    ) -> Result<C, ConfigError> {
        let offset = written.span().start;
        check(written.into_inner()).map_err(|mistake| self.mistake(offset, mistake))
    }
}

pub(super) fn issuer(issuer: String) -> Result<String, Mistake> {
    // Verifiers refuse the URIs of lists with dot segments, and take braces for a template.
    let has_dots = issuer.split('/').any(|segment| [".", ".."].contains(&segment));
    let accepted = edgepass_verify::policy::is_issuer_url(&issuer)
        && !has_dots
        && !issuer.contains(['{', '}', '%'])
        && !issuer.ends_with('/');
    if accepted { Ok(issuer) } else { Err(Mistake::Issuer) }
}

pub(super) fn base_uri(uri: String) -> Result<String, Mistake> {
    issuer(uri).map_err(|_| Mistake::BaseUri)
}

/// Checks `[revocation]`. Returns the settings, their schedule and the largest age of a list.
/// Without a deadline and `max_list_age`, lists have no largest age.
pub(super) fn revocation(
    freshness: FreshnessConfig,
) -> Result<(FreshnessConfig, Schedule, Option<Duration>), Mistake> {
    let of_keys = [
        ("keys", freshness.keys.is_some()),
        ("keys_hard_stop", freshness.keys_hard_stop.is_some()),
    ];
    if let Some((name, _)) = of_keys.into_iter().find(|(_, is_written)| *is_written) {
        return Err(Mistake::ForVerifiers(name));
    }
    let schedule = freshness.check(true).map_err(Mistake::Deadline)?;
    let has_deadline = schedule.deadline().is_some();
    if has_deadline && freshness.shared_max_age() < MAX_AGE {
        return Err(Mistake::SharedMaxAge);
    }
    let default = has_deadline.then_some(DEFAULT_MAX_LIST_AGE);
    let max_age = freshness.list_age(&schedule, default).map_err(Mistake::ListAge)?;
    Ok((freshness, schedule, max_age))
}

pub(super) fn list_capacity(capacity: u32) -> Result<u32, Mistake> {
    LIST_CAPACITIES.contains(&capacity).then_some(capacity).ok_or(Mistake::ListCapacity)
}

/// The bits of a status: two if tokens can be suspended, else one.
pub(super) fn bits(suspension: bool) -> Bits {
    if suspension { Bits::Two } else { Bits::One }
}

/// Checks `[keys]`: `overlap` is at least the longest lifetime of any role plus [`OVERLAP_MARGIN`],
/// and `rotation` is longer than `overlap`.
pub(super) fn keys(
    keys: &KeysText,
    longest_lifetime: Duration,
    freshness: &FreshnessConfig,
    schedule: &Schedule,
) -> Result<KeySchedule, Mistake> {
    let KeysText { algorithm, rotation, overlap } = *keys;
    let least = longest_lifetime.saturating_add(OVERLAP_MARGIN);
    if overlap.0 < least {
        return Err(Mistake::Overlap { overlap, least: DurationText(least) });
    }
    if rotation.0 <= overlap.0 {
        return Err(Mistake::Rotation { rotation, overlap });
    }
    let deadline = schedule.deadline().unwrap_or(DEFAULT_DEADLINE);
    Ok(KeySchedule {
        algorithm,
        rotation: rotation.0.as_secs(),
        overlap: overlap.0.as_secs(),
        // Rounded up: a key must not sign before its deadline has passed.
        settling: deadline
            .as_secs()
            .saturating_add((deadline.subsec_nanos() > 0).into())
            .max(LEAST_SETTLING),
        caches: freshness.shared_max_age().saturating_add(freshness.publish_delay()),
    })
}

/// Checks a `[[role]]`. `[tokens]` supplies the lifetimes that the role lacks; a `lifetime` from
/// there is lowered to the role's `max_lifetime`. The name must differ from those of the roles
/// `before`.
pub(super) fn role(role: RoleText, tokens: &TokensText, before: &[Role]) -> Result<Role, Mistake> {
    let RoleText { name, audience, scopes, lifetime, max_lifetime } = role;
    if name.is_empty() || before.iter().any(|other| other.name == name) {
        return Err(Mistake::RoleName);
    }
    if audience.is_empty() || audience.trim() != audience {
        return Err(Mistake::RoleAudience(name));
    }
    let scope = match Scope::try_from(scopes) {
        Ok(scope) if !scope.is_empty() => scope,
        _ => return Err(Mistake::RoleScopes(name)),
    };
    let (has_own, second) = (lifetime.is_some(), Duration::from_secs(1));
    let max_lifetime = max_lifetime.unwrap_or(tokens.max_lifetime);
    if !(second..=LIFETIME_CAP).contains(&max_lifetime.0) {
        return Err(Mistake::RoleMaxLifetime { role: name, most: DurationText(LIFETIME_CAP) });
    }
    let of_tokens = (tokens.lifetime.0, tokens.max_lifetime.0);
    if !has_own && of_tokens.0 > of_tokens.1 {
        return Err(Mistake::RoleLifetime { role: name, most: tokens.max_lifetime });
    }
    let lifetime = lifetime.unwrap_or(tokens.lifetime).0;
    let lifetime = if has_own { lifetime } else { lifetime.min(max_lifetime.0) };
    if !(second..=max_lifetime.0).contains(&lifetime) {
        return Err(Mistake::RoleLifetime { role: name, most: max_lifetime });
    }
    Ok(Role {
        name,
        audience,
        scope,
        lifetime: lifetime.as_secs(),
        max_lifetime: max_lifetime.0.as_secs(),
    })
}

/// Checks a `[[client]]`. Its `roles` must exist, and its `id` must differ from those of the
/// clients `before`. `suspension` says whether tokens can be suspended.
pub(super) fn client(
    client: ClientText,
    roles: &[Role],
    before: &[Client],
    suspension: bool,
) -> Result<Client, Mistake> {
    let id = client.id;
    // RFC 6749 appendix A.1: VSCHAR, here without space and colon. A colon would end the user name
    // of HTTP Basic.
    let printable = id.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b':');
    if id.is_empty() || !printable || before.iter().any(|other| other.id == id) {
        return Err(Mistake::ClientId);
    }
    if client.roles.is_empty() {
        return Err(Mistake::ClientWithoutRole(id));
    }
    if let Some(unknown) = client.roles.iter().find(|name| roles.iter().all(|r| r.name != **name)) {
        return Err(Mistake::UnknownRole { role: unknown.clone(), client: id });
    }
    if !suspension && client.may.iter().any(|change| *change != StatusChange::Revoke) {
        return Err(Mistake::NeedsSuspension(id));
    }
    match SecretHash::parse(&client.secret_hash) {
        Ok(secret) => Ok(Client { id, roles: client.roles, may: client.may, secret }),
        Err(source) => Err(Mistake::SecretHash { client: id, source }),
    }
}

//! The checks of the settings in `edgepass.toml`.

use std::path::Path;
use std::time::Duration;

use edgepass_status_list::Bits;
use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::policy::freshness::{DEFAULT_MAX_LIST_AGE, FreshnessConfig, Schedule};
use ipnet::IpNet;

use super::error::Mistake;
use super::policy_checks::is_address;
use super::written::{
    AlertsText, GithubKeyText, KeysText, LeaksText, MailText, Pkcs11Text, ProxyText, TlsText,
    TokensText,
};
use super::{
    AlertsConfig, CertificateField, LIST_CAPACITIES, LeaksConfig, MailConfig, MailSecurity,
    Pkcs11Config, ProxyConfig, TlsConfig,
};
use crate::client::secret::SecretHash;
use crate::keys::KeySchedule;
use crate::leak_keys::GithubKey;
use crate::publish::document::MAX_AGE;

/// The deadline of JWK Sets if `[revocation]` sets none. Verifiers apply the same one.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
/// The largest leeway of verifiers, five minutes, and as much again for clocks and restarts.
const OVERLAP_MARGIN: Duration = Duration::from_secs(10 * 60);

/// The least time for which a record stays after its token has expired. A list has the status of a token
/// until the end of its window, at most four hours later, and takes none back.
const LEAST_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The least time for which a key is published before it signs, in seconds. Verifiers of other
/// people, such as `jose` and PyJWT, look for a new key only 30 s after they last asked.
const LEAST_SETTLING: u64 = 30;

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
    if !has_deadline && freshness.head.is_some() {
        return Err(Mistake::HeadWithoutDeadline);
    }
    if has_deadline && freshness.shared_max_age() < MAX_AGE {
        return Err(Mistake::SharedMaxAge);
    }
    let default = has_deadline.then_some(DEFAULT_MAX_LIST_AGE);
    let max_age = freshness.list_age(&schedule, default).map_err(Mistake::ListAge)?;
    Ok((freshness, schedule, max_age))
}

/// Checks `[tls]`. Relative paths start at `base`.
pub(super) fn tls(text: TlsText, base: &Path) -> Result<TlsConfig, Mistake> {
    match (text.certificate, text.key, text.by_proxy) {
        (Some(certificate), Some(key), false) => {
            Ok(TlsConfig::Certificate { certificate: base.join(certificate), key: base.join(key) })
        }
        (None, None, _) => Ok(TlsConfig::Plain),
        _ => Err(Mistake::Tls),
    }
}

/// Checks `[leaks]`.
pub(super) fn leaks(text: LeaksText) -> Result<LeaksConfig, Mistake> {
    let gitlab_token = text.gitlab_token_hash.as_deref().map(SecretHash::parse).transpose();
    let gitlab_token = gitlab_token.map_err(Mistake::GitlabToken)?;
    let key = |text: &GithubKeyText| GithubKey::parse(&text.key_identifier, &text.key);
    let github_keys: Option<Vec<GithubKey>> = text.github_keys.iter().map(key).collect();
    Ok(LeaksConfig { gitlab_token, github_keys: github_keys.ok_or(Mistake::GithubKey)? })
}

/// Checks `[alerts]`. Relative paths start at `base`.
pub(super) fn alerts(text: AlertsText, base: &Path) -> Result<AlertsConfig, Mistake> {
    if !edgepass_verify::url::is_acceptable(&text.url) {
        return Err(Mistake::AlertUrl);
    }
    Ok(AlertsConfig { url: text.url, secret_file: text.secret_file.map(|file| base.join(file)) })
}

/// Checks `[mail]`. Relative paths start at `base`.
pub(super) fn mail(text: MailText, base: &Path) -> Result<MailConfig, Mistake> {
    const SERVER: Mistake =
        Mistake::Mail("server: write smtps://host:465 (TLS) or smtp://host:587 (STARTTLS)");
    let (security, server) = match text.server.split_once("://") {
        Some(("smtps", server)) => (MailSecurity::Tls, server),
        Some(("smtp", server)) => (MailSecurity::StartTls, server),
        _ => return Err(SERVER),
    };
    // An IPv6 address is in brackets.
    let at = server.rfind(':').filter(|at| !server.get(*at..).is_some_and(|end| end.contains(']')));
    let (host, port) = at.and_then(|at| server.split_at_checked(at)).unwrap_or((server, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_plain = |char: char| char.is_ascii_alphanumeric() || ".-:".contains(char);
    if host.is_empty() || !host.chars().all(is_plain) {
        return Err(SERVER);
    }
    let default = if security == MailSecurity::Tls { 465 } else { 587 };
    let port = match port.strip_prefix(':') {
        None => default,
        Some(port) => port.parse().map_err(|_| SERVER)?,
    };
    let is_loopback = host == "localhost"
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    let security = match security {
        MailSecurity::StartTls if is_loopback => MailSecurity::Loopback,
        security => security,
    };
    if !is_address(&text.from) {
        return Err(Mistake::Mail("from: write an e-mail address"));
    }
    if text.user.is_none() && text.password_file.is_some() {
        return Err(Mistake::Mail("user: a password goes with a user"));
    }
    let password_file = text.password_file.map(|file| base.join(file));
    Ok(MailConfig {
        host: host.to_owned(),
        port,
        security,
        from: text.from,
        user: text.user,
        password_file,
    })
}

/// Checks `[proxy]`.
pub(super) fn proxy(text: ProxyText) -> Result<ProxyConfig, Mistake> {
    // A token of RFC 9110 §5.6.2, as far as names of fields use it.
    let is_name = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let networks: Result<Vec<IpNet>, _> = text.from.iter().map(|text| text.parse()).collect();
    let from = networks.map_err(|_| Mistake::Proxy("from"))?;
    // With a network of all addresses, every client could claim any address and any certificate.
    if from.is_empty() || from.iter().any(|network| network.prefix_len() == 0) {
        return Err(Mistake::Proxy("from"));
    }
    let forwarded_for = text.forwarded_for.map(|name| name.to_ascii_lowercase());
    if !forwarded_for.as_deref().is_none_or(is_name) {
        return Err(Mistake::Proxy("forwarded_for"));
    }
    let client_certificate = text
        .client_certificate
        .map(|field| CertificateField { header: field.header.to_ascii_lowercase(), ..field });
    if !client_certificate.as_ref().is_none_or(|field| is_name(&field.header)) {
        return Err(Mistake::Proxy("client_certificate"));
    }
    Ok(ProxyConfig { from, forwarded_for, client_certificate })
}

pub(super) fn list_capacity(capacity: u32) -> Result<u32, Mistake> {
    LIST_CAPACITIES.contains(&capacity).then_some(capacity).ok_or(Mistake::ListCapacity)
}

/// Checks `[keys.pkcs11]`. Relative paths start at `base`.
pub(super) fn pkcs11(text: Pkcs11Text, base: &Path) -> Result<Pkcs11Config, Mistake> {
    let Pkcs11Text { module, token_label, pin_file } = text;
    if !module.is_absolute() {
        return Err(Mistake::Pkcs11Module);
    }
    // PKCS #11 pads labels with spaces to 32 bytes.
    let is_label = (1..=32).contains(&token_label.len()) && token_label.trim() == token_label;
    if !is_label {
        return Err(Mistake::Pkcs11TokenLabel);
    }
    let pin_file = match pin_file {
        Some(file) if file.as_os_str().is_empty() => {
            return Err(Mistake::EmptyPath("[keys.pkcs11] pin_file"));
        }
        file => file.map(|file| base.join(file)),
    };
    Ok(Pkcs11Config { module, token_label, pin_file })
}

/// Checks `keep_records`.
pub(super) fn tokens(text: TokensText) -> Result<TokensText, Mistake> {
    let is_long_enough = text.keep_records.0 >= LEAST_KEPT;
    if is_long_enough { Ok(text) } else { Err(Mistake::KeepRecords) }
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
    let KeysText { algorithm, rotation, overlap, .. } = *keys;
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

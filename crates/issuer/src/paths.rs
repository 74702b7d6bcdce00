//! Paths of published documents below the issuer's base URI, without a leading slash.

/// Path of the JWK Set.
pub const JWK_SET: &str = ".well-known/jwks.json";
/// Path of the metadata (RFC 8414 §3), at targets too. If the issuer identifier has a path, the
/// public URL has that path after this one.
pub const METADATA: &str = ".well-known/oauth-authorization-server";
/// Path of the same metadata, where clients of OpenID Connect look (OpenID Connect Discovery 1.0 §4).
pub const OPENID_METADATA: &str = ".well-known/openid-configuration";
/// Path of the aggregation, which names the status lists.
pub const AGGREGATION: &str = "status-list-aggregation";
/// Path of the status head, which names the current edition of every list.
pub const STATUS_HEAD: &str = "status-head";
/// Prefix of the status lists' paths.
pub const LISTS: &str = "status-lists/";

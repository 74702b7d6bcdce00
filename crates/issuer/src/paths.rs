//! Where published documents lie, below the issuer's base, without a leading slash.

/// Path of the JWK Set.
pub const JWK_SET: &str = ".well-known/jwks.json";
/// Path of the metadata (RFC 8414 §3), for an issuer identifier without a path.
pub const METADATA: &str = ".well-known/oauth-authorization-server";
/// Path of the list of lists.
pub const AGGREGATION: &str = "status-list-aggregation";
/// Where the lists' paths begin.
pub const LISTS: &str = "status-lists/";

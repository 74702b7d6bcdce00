//! Tests of the whole system on the native host. The other hosts are in `hosts/`.

mod allocations;
mod batch;
mod conformance;
mod documents;
mod errors;
mod field;
mod http_freshness;
mod list_issuer;
mod properties;
mod remembered;
mod status_heads;
mod third_party;
mod vectors;

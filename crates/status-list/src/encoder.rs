//! Writing lists: the issuer's half.

use edgepass_jose::base64url;
use miniz_oxide::deflate::compress_to_vec_zlib;

use crate::list::StatusList;

/// The member `lst`: zlib at its highest level, base64url.
///
/// Source: draft-ietf-oauth-status-list-20 §4.1 and §4.2.
pub fn encode(list: &StatusList) -> String {
    const HIGHEST: u8 = 9;
    base64url::encode(&compress_to_vec_zlib(list.bytes(), HIGHEST))
}

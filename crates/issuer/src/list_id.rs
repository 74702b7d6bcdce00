//! Names of status lists, each the last segment of the list's URI: the end of the list's window in
//! seconds, a hyphen, and the number of lists that the window had before. After a restored backup a
//! hyphen and the epoch follow.

use std::fmt::{self, Display, Write};

use crate::entropy::{Entropy, NoEntropy};

/// Whether this issuer may give a list this name.
///
/// # Example
///
/// ```
/// use edgepass_issuer::list_id::is_list_id;
///
/// assert!(is_list_id("1700000400-0") && is_list_id("1700000400-12-0a1b2c3d4e5f"));
/// assert!(!is_list_id("1700000400") && !is_list_id("x-0") && !is_list_id("1-0/.."));
/// ```
pub fn is_list_id(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase() || byte == b'-';
    text.len() <= MAX_BYTES && text.bytes().all(is_part) && window_end(text).is_some()
}

/// The end of the window of the list with this name, in seconds. `None`: no list has this name.
pub fn window_end(list_id: &str) -> Option<u64> {
    let (end, _) = list_id.split_once('-')?;
    end.bytes().all(|byte| byte.is_ascii_digit()).then(|| end.parse().ok())?
}

/// The part by which the names of lists that are opened after a restored backup differ from all names
/// before: 12 random hexadecimal digits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Epoch(String);

impl Epoch {
    /// Draws an epoch.
    ///
    /// # Errors
    ///
    /// [`NoEntropy`].
    pub fn draw(entropy: &mut impl Entropy) -> Result<Self, NoEntropy> {
        let bytes = entropy.bytes::<6>()?;
        Ok(Self(bytes.iter().fold(String::with_capacity(12), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest name, in bytes.
const MAX_BYTES: usize = 40;

//! Randomness, handed in by the host.

/// A source of random bytes fit for keys.
pub trait Entropy {
    /// Fill `bytes`.
    ///
    /// # Errors
    ///
    /// [`NoEntropy`]; nothing may be made from the bytes then.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy>;

    /// `N` random bytes.
    ///
    /// # Errors
    ///
    /// [`NoEntropy`].
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], NoEntropy> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

/// The operating system gave no randomness.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the operating system gave no randomness")]
pub struct NoEntropy;

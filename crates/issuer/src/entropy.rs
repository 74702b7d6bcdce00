//! Randomness, provided by the host.

/// A source of random bytes that are suitable for keys.
pub trait Entropy {
    /// Fills `bytes` with random bytes.
    ///
    /// # Errors
    ///
    /// [`NoEntropy`]. The caller must then not use `bytes`.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy>;

    /// Returns `N` random bytes.
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

/// The operating system provided no randomness.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the operating system provided no randomness")]
pub struct NoEntropy;

/// Distinguishable bytes for tests: the first call fills with ones, the second with twos, and so
/// on.
#[cfg(test)]
pub(crate) struct Counting(pub(crate) u8);

#[cfg(test)]
impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        self.0 = self.0.wrapping_add(1);
        bytes.fill(self.0);
        Ok(())
    }
}

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

/// Bytes that a test can tell apart: ones, twos, threes.
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

//! Runs, counts and prints checks.

use std::time::Instant;

use anyhow::ensure;

/// Counts checks and prints each with its time.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    /// Names of the failed checks, as far as they are known.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// Run a check. Print its name, its time and the text that it returns.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> anyhow::Result<String>) {
        let start = Instant::now();
        let outcome = check();
        let time = start.elapsed().as_millis();
        match outcome {
            Ok(seen) => {
                self.passed += 1;
                println!(
                    "  ok    {time:>6} ms  {name}{}{seen}",
                    if seen.is_empty() { "" } else { ": " }
                );
            }
            Err(error) => {
                self.failed += 1;
                self.failures.push(name.to_owned());
                println!("  FAIL  {time:>6} ms  {name}: {error:#}");
            }
        }
    }

    /// Add the counts of another tally.
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures.iter().cloned());
    }

    /// Return an error if a check failed or none passed. It names the failed ones.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        ensure!(self.passed > 0, "no check passed");
        ensure!(
            self.failed == 0,
            "{} checks failed:\n  {}",
            self.failed,
            self.failures.join("\n  ")
        );
        Ok(())
    }
}

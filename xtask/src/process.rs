//! Child processes that never outlive xtask: each has a process group, which ends as a whole.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// A child process in its own process group. Dropping it ends the whole group.
pub(crate) struct Group {
    name: &'static str,
    child: Child,
    /// Closed first. Children that watch their stdin then end by themselves, even if xtask is
    /// killed.
    stdin: Option<ChildStdin>,
}

/// Time for a group to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

impl Group {
    /// Start a child and read the first line it prints.
    pub(crate) fn start_with_line(
        name: &'static str,
        command: &mut Command,
    ) -> anyhow::Result<(Self, String)> {
        let mut group = Self::spawn(name, command.stdout(Stdio::piped()))?;
        let stdout = group.child.stdout.take().context("stdout is piped")?;
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.is_empty() {
            bail!("{name} ended before it was ready; see its output above");
        }
        // Further output is discarded, so that it does not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        Ok((group, line))
    }

    /// Whether the child still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn spawn(name: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name} cannot be started: {command:?}"))?;
        let stdin = child.stdin.take();
        Ok(Self { name, child, stdin })
    }

    /// End the whole group: close stdin, wait, then kill what is left.
    pub(crate) fn end(&mut self) {
        // Without stdin the group has ended.
        let Some(stdin) = self.stdin.take() else { return };
        drop(stdin);
        let deadline = Instant::now() + GRACE;
        while self.is_running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        // The group is always killed, since a grandchild may have outlived the child.
        self.signal("-KILL");
        if self.child.wait().is_err() {
            eprintln!("{} could not be waited for", self.name);
        }
    }

    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.child.id());
        // An error means that the group has already ended.
        let _ = Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

//! Children that never outlive us: one process group each, ended together.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// A child in a process group of its own. Dropping it ends the whole group.
pub(crate) struct Group {
    name: &'static str,
    child: Child,
    /// Closed first: children that watch their stdin end by themselves, also when we are killed.
    stdin: Option<ChildStdin>,
}

/// How long a group may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

impl Group {
    /// Start a child whose stdout is not read.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        Self::spawn(name, command.stdout(Stdio::null()))
    }

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
            bail!("{name} ended before it was ready; what it said is above");
        }
        // Whatever else it prints must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        Ok((group, line))
    }

    /// Whether the child still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The child's process id, which is its group's id as well.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
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

    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.child.id());
        // A group that has ended already needs no signal.
        let _ = Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.signal("-TERM");
        let deadline = Instant::now() + GRACE;
        while self.is_running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Always: a grandchild may have outlived the child.
        self.signal("-KILL");
        if self.child.wait().is_err() {
            eprintln!("{} could not be waited for", self.name);
        }
    }
}

//! The whole system on this machine: issuer, origin, guard in workerd, inspector.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use anyhow::Context;
use serde_json::{Value, json};

use crate::process::Group;
use crate::step::{command, root};
use crate::tools::{Tools, target_dir};

/// A running system. Dropping it ends every process.
pub(crate) struct System {
    /// The issuer's URL.
    pub(crate) issuer: String,
    /// The guard's URL.
    pub(crate) guard: String,
    /// The URL of the guard's own socket: nothing in front of it normalizes paths.
    pub(crate) guard_socket: String,
    /// Opens the guard's counters.
    pub(crate) metrics_token: String,
    /// The sample origin's URL.
    pub(crate) origin: String,
    /// The inspector's URL.
    pub(crate) inspector: String,
    /// The example client's secret.
    pub(crate) client_secret: String,
    edgepass: PathBuf,
    folder: PathBuf,
    issuer_process: u64,
    stage: Group,
    /// The file with the issuer's log, if it is kept.
    log: Option<PathBuf>,
}

/// Where the issuer's log goes.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Log {
    /// Warnings go to stderr.
    Shown,
    /// Everything from level `debug` on goes to a file that the journey searches.
    Kept,
}

/// The audience of the example role and the guard.
pub(crate) const AUDIENCE: &str = "https://api.example";

impl System {
    /// Start everything; `cache` is the guard's cache tier, `algorithm` what the issuer signs with.
    pub(crate) fn start(
        tools: &Tools,
        edgepass: &Path,
        cache: &str,
        algorithm: &str,
        log: Log,
    ) -> anyhow::Result<Self> {
        // Each system has its own folder, so that several can run at once.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let own = format!("{}-{}", std::process::id(), STARTED.fetch_add(1, Relaxed));
        let folder = target_dir().join("demo").join(own);
        let log = (log == Log::Kept).then(|| folder.join("issuer.log"));
        fs::create_dir_all(folder.parent().context("the folder has a parent")?)?;
        let setting = json!({
            "edgepass": edgepass, "folder": folder, "audience": AUDIENCE, "cache": cache,
            "algorithm": algorithm,
            "guard": root().join("worker/build"), "www": root().join("www"),
            "log": if log.is_some() { "debug" } else { "warn" }, "log_file": log,
            // Tests that keep a log kill the issuer on purpose.
            "ends_with_issuer": log.is_none(),
        });
        let script = root().join("tests/stage/demo.mjs");
        let mut stage = tools.node(&[&script.to_string_lossy(), &setting.to_string()]);
        let (stage, line) = Group::start_with_line("the demo's stage", &mut stage)?;
        let started: Value = serde_json::from_str(&line).context("the stage's first line")?;
        let text = |name: &str| {
            started[name].as_str().map(str::to_owned).with_context(|| format!("no {name}: {line}"))
        };
        Ok(Self {
            issuer: text("issuer")?,
            guard: text("guard")?,
            guard_socket: text("guard_socket")?,
            metrics_token: text("metrics_token")?,
            origin: text("origin")?,
            inspector: text("inspector")?,
            client_secret: text("client_secret")?,
            issuer_process: started["issuer_process"].as_u64().context("no issuer_process")?,
            edgepass: edgepass.to_owned(),
            folder,
            stage,
            log,
        })
    }

    /// An `edgepass` command that acts on this issuer.
    pub(crate) fn edgepass(&self, arguments: &[&str]) -> Command {
        let mut command = command(&self.edgepass);
        command.current_dir(&self.folder).args(arguments);
        command
    }

    /// The program, and the folder to run it in.
    pub(crate) fn program(&self) -> (&Path, &Path) {
        (&self.edgepass, &self.folder)
    }

    /// The name and text of each kept log.
    pub(crate) fn logs(&self) -> anyhow::Result<Vec<(String, String)>> {
        let read = |file: &PathBuf| Ok(("the issuer's log".to_owned(), fs::read_to_string(file)?));
        self.log.iter().map(read).collect()
    }

    /// Kill the issuer with SIGKILL.
    pub(crate) fn kill_issuer(&self) {
        let _ = Command::new("kill").args(["-KILL", &self.issuer_process.to_string()]).status();
    }

    /// Whether all processes still run.
    pub(crate) fn all_running(&mut self) -> bool {
        self.stage.is_running()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.stage.end();
        // A folder that cannot be removed stays in `target/` and does no harm.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

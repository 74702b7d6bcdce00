//! The whole system on this machine: issuer, origin, guard in workerd, inspector.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::process::Group;
use crate::step::{self, command, root};
use crate::tools::{Tools, target_dir, which};

/// A running system. Dropping it ends every process.
pub(crate) struct System {
    /// The issuer's URL.
    pub(crate) issuer: String,
    /// The guard's URL.
    pub(crate) guard: String,
    /// The guard's socket without anything in front that would tidy a path.
    pub(crate) guard_socket: String,
    /// The sample origin's URL.
    pub(crate) origin: String,
    /// The inspector's URL.
    pub(crate) inspector: String,
    /// The example client's secret.
    pub(crate) client_secret: String,
    edgepass: PathBuf,
    folder: PathBuf,
    processes: Vec<Group>,
    /// Where the issuer's log goes, if it is kept.
    log: Option<PathBuf>,
}

/// What becomes of what the issuer logs.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Log {
    /// Warnings are shown.
    Shown,
    /// All of it is kept, to be looked through.
    Kept,
}

/// What the example role and the guard agree on.
pub(crate) const AUDIENCE: &str = "https://api.example";

impl System {
    /// Start everything; `cache` is the guard's cache tier.
    pub(crate) fn start(
        tools: &Tools,
        edgepass: &Path,
        cache: &str,
        log: Log,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        // A folder of its own, so that a second system harms none that runs.
        let folder = target_dir().join("demo").join(port.to_string());
        let listen = format!("127.0.0.1:{port}");
        let issuer = format!("http://{listen}");
        let mut init = command(edgepass);
        init.arg("init").arg(&folder).args(["--issuer", &issuer, "--listen", &listen, "--json"]);
        let made: Value = serde_json::from_str(&step::output("edgepass init", &mut init)?)?;
        let text = |value: &Value, name: &str| {
            value[name].as_str().map(str::to_owned).with_context(|| format!("no {name}: {value}"))
        };

        let mut serve = dying_with_us(edgepass);
        serve.arg("serve").current_dir(&folder).env("EDGEPASS_LOG", "warn");
        let log = (log == Log::Kept).then(|| folder.join("issuer.log"));
        if let Some(file) = &log {
            serve.env("EDGEPASS_LOG", "debug").stderr(fs::File::create(file)?);
        }
        let mut issuing = Group::start("the issuer", &mut serve)?;
        wait_until_ready(&issuer, &mut issuing)?;

        let build = root().join("worker/build");
        let setting = json!({
            "issuer": issuer, "audience": AUDIENCE, "cache": cache,
            "guard": build, "www": root().join("www"),
        });
        let script = root().join("xtask/stage/stage.mjs");
        let mut stage = tools.node(&[&script.to_string_lossy(), &setting.to_string()]);
        let (staging, line) = Group::start_with_line("the guard's stage", &mut stage)?;
        let urls: Value = serde_json::from_str(&line).context("the stage's first line")?;
        Ok(Self {
            guard: text(&urls, "guard")?,
            guard_socket: text(&urls, "guard_socket")?,
            origin: text(&urls, "origin")?,
            inspector: text(&urls, "inspector")?,
            client_secret: text(&made, "client_secret")?,
            issuer,
            edgepass: edgepass.to_owned(),
            folder,
            processes: vec![issuing, staging],
            log,
        })
    }

    /// An `edgepass` command that acts on this issuer.
    pub(crate) fn edgepass(&self, arguments: &[&str]) -> Command {
        let mut command = command(&self.edgepass);
        command.current_dir(&self.folder).args(arguments);
        command
    }

    /// The program, and the folder to call it in.
    pub(crate) fn program(&self) -> (&Path, &Path) {
        (&self.edgepass, &self.folder)
    }

    /// The logs that are kept, by name.
    pub(crate) fn said(&self) -> anyhow::Result<Vec<(String, String)>> {
        let read = |file: &PathBuf| Ok(("the issuer's log".to_owned(), fs::read_to_string(file)?));
        self.log.iter().map(read).collect()
    }

    /// Kill the issuer without warning.
    pub(crate) fn kill_issuer(&mut self) {
        let id = self.processes[0].id().to_string();
        let _ = Command::new("kill").args(["-KILL", &id]).status();
        drop(self.processes.remove(0));
    }

    /// The first process that has ended, if any has.
    pub(crate) fn all_running(&mut self) -> bool {
        self.processes.iter_mut().all(Group::is_running)
    }
}

/// A command that ends when we are killed without warning, where the system can arrange it. Children
/// that watch their stdin need no arranging.
fn dying_with_us(program: &Path) -> Command {
    match which("setpriv") {
        Some(setpriv) => {
            let mut wrapped = command(setpriv);
            wrapped.args(["--pdeathsig", "TERM"]).arg(program);
            wrapped
        }
        None => command(program),
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.processes.clear();
        // What cannot be removed lies in `target/` and is in nobody's way.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn wait_until_ready(issuer: &str, process: &mut Group) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if !process.is_running() {
            bail!("the issuer ended; what it said is above");
        }
        if ureq::get(format!("{issuer}/readyz")).call().is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("the issuer was not ready within 20 s")
}

/// A port below those that outgoing connections are given, lest one of them take it before the
/// issuer does.
fn free_port() -> anyhow::Result<u32> {
    static DRAWN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..100 {
        let drawn = std::process::id().wrapping_add(DRAWN.fetch_add(61, Relaxed));
        let port = 22_000 + drawn % 10_000;
        if TcpListener::bind(format!("127.0.0.1:{port}")).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port between 22,000 and 32,000 of loopback can be listened at")
}

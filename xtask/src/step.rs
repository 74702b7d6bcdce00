//! Runs commands and shows progress.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// A command in the workspace's folder, without the variables that cargo set for this process: they
/// would make some crates rebuild at each call.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let kept = ["CARGO_HOME", "CARGO_TARGET_DIR"].contains(&name.as_str());
        if name.starts_with("CARGO") && !kept {
            command.env_remove(name);
        }
    }
    command
}

/// A `cargo` command.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = command("cargo");
    command.args(arguments);
    command
}

static TO_STDERR: AtomicBool = AtomicBool::new(false);

/// Print progress to stderr, so that stdout holds only the command's output.
pub(crate) fn progress_to_stderr(to_stderr: bool) {
    TO_STDERR.store(to_stderr, Ordering::Relaxed);
}

/// Print a line of progress.
pub(crate) fn tell(text: &str) {
    if TO_STDERR.load(Ordering::Relaxed) {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
}

/// Run a command. Print `what` before it and its time after it; its output passes through.
pub(crate) fn run(what: &str, command: &mut Command) -> anyhow::Result<()> {
    tell(&format!("• {what} ..."));
    let start = Instant::now();
    if TO_STDERR.load(Ordering::Relaxed) {
        command.stdout(std::io::stderr());
    }
    let status = command.status().with_context(|| format!("{what}: {command:?} cannot be run"))?;
    if !status.success() {
        bail!("{what} failed ({status}); command: {}", shown(command));
    }
    tell(&format!("• {what}: {:.1} s", start.elapsed().as_secs_f64()));
    Ok(())
}

/// Run a command and return its stdout. If it fails, the error contains its stderr.
pub(crate) fn output(what: &str, command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{what}: {command:?} cannot be run"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{what} failed ({}): {}\n{text}", output.status, shown(command));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Run a command, print each line of its stdout and pass it to `see`. Return whether it succeeded.
pub(crate) fn watched(
    what: &str,
    command: &mut Command,
    mut see: impl FnMut(&str),
) -> anyhow::Result<bool> {
    tell(&format!("• {what} ..."));
    let start = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{what}: {command:?} cannot be run"))?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.with_context(|| format!("{what}: its output is not text"))?;
        println!("{line}");
        see(&line);
    }
    let status = child.wait()?;
    tell(&format!("• {what}: {:.1} s", start.elapsed().as_secs_f64()));
    Ok(status.success())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

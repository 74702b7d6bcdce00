//! Builds the witness as one static file, for whoever is to vouch for a log.

use std::env::consts::ARCH;

use anyhow::{Context, ensure};

use crate::step::{self, cargo, command};
use crate::tools::{self, target_dir};

/// Build the program. Print its path.
pub(crate) fn run() -> anyhow::Result<()> {
    let target = format!("{ARCH}-unknown-linux-musl");
    tools::musl()?;
    step::run(
        "add the target for static programs",
        command("rustup").args(["target", "add", &target]),
    )?;
    let mut build = cargo(&["build", "--release", "--quiet", "--locked"]);
    build.args(["--package", "edgepass-witness", "--target", &target]);
    step::run("build the witness (minutes at first)", &mut build)?;
    let program = target_dir().join(&target).join("release/edgepass-witness");
    let linked = step::output("ldd", command("ldd").arg(&program));
    // Of a static program ldd says so, or that it is not dynamic.
    let is_static = linked.map_or(true, |text| text.contains("statically linked"));
    ensure!(is_static, "{} is not static", program.display());
    let version = step::output("the witness", command(&program).arg("--version"))?;
    let octets = std::fs::metadata(&program).context("the witness was not built")?.len();
    step::tell(&format!("• {}, static, {} MB", version.trim(), octets / 1_000_000));
    println!("{}", program.display());
    Ok(())
}

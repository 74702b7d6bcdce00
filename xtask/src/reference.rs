//! The API reference of the npm package, `docs/api/README.md`, generated from its types.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::step::{self, root};
use crate::tools::Tools;
use crate::{artifacts, tools};

const FILE: &str = "docs/api/README.md";

/// Write the reference.
pub(crate) fn write() -> anyhow::Result<()> {
    let tools = tools::for_wasm()?;
    generate(&tools, &root().join("docs/api"))
}

/// Check that the written reference is that of the types.
pub(crate) fn check(tools: &Tools) -> anyhow::Result<()> {
    let fresh = tools::target_dir().join("api");
    generate(tools, &fresh)?;
    let written = fs::read_to_string(root().join(FILE)).unwrap_or_default();
    let fresh = fs::read_to_string(fresh.join("README.md")).context("no API reference")?;
    ensure!(written == fresh, "{FILE} is not that of npm/lib; run: cargo xtask reference");
    step::tell(&format!("• {FILE} is that of npm/lib"));
    Ok(())
}

fn generate(tools: &Tools, folder: &Path) -> anyhow::Result<()> {
    let extras = tools::npm_extras()?;
    // The types include those of the Wasm module.
    artifacts::npm(tools)?;
    let mut typedoc = tools.command(extras.join(".bin/typedoc"));
    typedoc.args(["--options", "npm/typedoc.json", "--logLevel", "Warn", "--plugin"]);
    typedoc.arg(extras.join("typedoc-plugin-markdown/dist/index.js")).arg("--out").arg(folder);
    step::run("generate the API reference", &mut typedoc)
}

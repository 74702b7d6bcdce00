//! The API reference of the npm package, `docs/api/`, generated from its types.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::step::{self, root};
use crate::tools::Tools;
use crate::{artifacts, tools};

const FOLDER: &str = "docs/api";

/// Write the reference.
pub(crate) fn write() -> anyhow::Result<()> {
    let tools = tools::for_wasm()?;
    generate(&tools, &root().join(FOLDER))
}

/// Check that the written reference is that of the types.
pub(crate) fn check(tools: &Tools) -> anyhow::Result<()> {
    let fresh = tools::target_dir().join("api");
    generate(tools, &fresh)?;
    let (written, fresh) = (pages(&root().join(FOLDER))?, pages(&fresh)?);
    ensure!(
        fresh.len() > 1 && written == fresh,
        "{FOLDER} differs from npm/lib; run: cargo xtask reference"
    );
    step::tell(&format!("• {FOLDER} is that of npm/lib"));
    Ok(())
}

/// The files of a folder, with their texts.
fn pages(folder: &Path) -> anyhow::Result<BTreeMap<OsString, String>> {
    let files = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    let mut pages = BTreeMap::new();
    for file in files {
        let file = file?;
        pages.insert(file.file_name(), fs::read_to_string(file.path())?);
    }
    Ok(pages)
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

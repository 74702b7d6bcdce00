//! Checks the sizes of the Wasm modules against their budgets.

use std::collections::HashMap;
use std::fs;

use anyhow::bail;
use rustc_demangle::demangle;
use wasmparser::{KnownCustom, Name, Parser, Payload, TypeRef};

use crate::artifacts;
use crate::step::{self, root};
use crate::tools::{self, target_dir};

/// Each module's budget after gzip, in bytes: a little above its size. Raise it only with a reason.
/// The last ones: policies for other issuers' claims, places of tokens, HTTP freshness of keys, causes
/// and events, hosts whose checks may move between threads; in the guard also paths with escapes,
/// metadata of resources and rate limits. Then, status lists that another issuer publishes, and
/// networks that a token may be used from; signatures of Ed25519 by the host, and refusals by number. In the guard
/// counts of use. Purposes and regions of agreements. Masking (19 KB, of which 1 KB makes it
/// 1.6 times as fast).
const BUDGETS: [(&str, &str, u64); 3] = [
    ("edgepass_npm_mask", "npm/wasm/edgepass_npm_mask_bg.wasm", 25_000),
    ("edgepass_npm", "npm/wasm/edgepass_npm_bg.wasm", 265_000),
    ("edgepass_guard", "worker/build/index_bg.wasm", 307_250),
];

/// Number of functions that are listed when a module is too large.
const LISTED: usize = 25;

/// Build the modules. A module above its budget is an error, with a list of its largest functions.
pub(crate) fn check() -> anyhow::Result<()> {
    let tools = tools::for_wasm()?;
    artifacts::npm(&tools)?;
    artifacts::worker(&tools)?;
    for (name, module, budget) in BUDGETS {
        let size = artifacts::zipped(&tools, &root().join(module))?;
        if size > budget {
            largest(name)?;
            bail!(
                "{module} is {size} bytes after gzip, above its budget of {budget} (xtask/src/size.rs)"
            );
        }
        step::tell(&format!("• {module}: {size} bytes gzipped, of {budget}"));
    }
    Ok(())
}

/// List the largest functions of the compiler's output, which still has the names of functions.
fn largest(name: &str) -> anyhow::Result<()> {
    let module = fs::read(target_dir().join(format!("wasm32-unknown-unknown/edge/{name}.wasm")))?;
    let (mut imported, mut sizes, mut names) = (0, Vec::new(), HashMap::new());
    for payload in Parser::new(0).parse_all(&module) {
        match payload? {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                }
            }
            Payload::CodeSectionEntry(body) => sizes.push(body.as_bytes().len()),
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(subsections) = section.as_known() {
                    for subsection in subsections {
                        let Name::Function(functions) = subsection? else { continue };
                        for function in functions {
                            let function = function?;
                            names.insert(function.index, function.name);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    let mut functions: Vec<(usize, &str)> = (imported..)
        .zip(sizes)
        .map(|(index, size)| (size, names.get(&index).copied().unwrap_or("?")))
        .collect();
    functions.sort_unstable_by(|a, b| b.cmp(a));
    step::tell(&format!("the largest functions of {name}, in bytes before wasm-opt:"));
    for (size, function) in functions.into_iter().take(LISTED) {
        step::tell(&format!("{size:>8}  {:#}", demangle(function)));
    }
    Ok(())
}

//! Builds the issuer, the npm package, the guard, the inspector and the probe.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use base64::Engine;

use crate::step::{self, cargo, root};
use crate::tools::{Tools, target_dir};

/// Build the `edgepass` program and return its path.
pub(crate) fn issuer() -> anyhow::Result<PathBuf> {
    step::run(
        "build the issuer (minutes at first)",
        &mut cargo(&["build", "--quiet", "--locked", "--package", "edgepass"]),
    )?;
    Ok(target_dir().join("debug/edgepass"))
}

/// Build the example `axum` and return its path.
pub(crate) fn axum_example() -> anyhow::Result<PathBuf> {
    let package = "edgepass-example-axum";
    step::run(
        "build the example axum",
        &mut cargo(&["build", "--quiet", "--locked", "--package", package]),
    )?;
    Ok(target_dir().join("debug").join(package))
}

/// Build the guard into `worker/build`.
pub(crate) fn worker(tools: &Tools) -> anyhow::Result<()> {
    guard(tools, None, &root().join("worker/build"))
}

/// Build a guard with another policy, a file of this repository. Return its folder, `name` in the
/// target directory.
pub(crate) fn guard_with(tools: &Tools, policy: &str, name: &str) -> anyhow::Result<PathBuf> {
    let folder = target_dir().join(name);
    guard(tools, Some(&root().join(policy)), &folder)?;
    // Leave the usual bindings behind, for other builds.
    worker(tools)?;
    Ok(folder)
}

/// Build a guard into `build`, with a policy instead of `worker/guard.toml`.
fn guard(tools: &Tools, policy: Option<&Path>, build: &Path) -> anyhow::Result<()> {
    let folder = root().join("worker");
    // The option exports a function with which the guard restarts its module after a trap.
    let options = ["--experimental-reset-state-function"];
    bind(tools, "edgepass-guard", policy, &folder.join("wasm"), &options)?;
    let mut bundle = tools.command(tools.npm_tool("esbuild"));
    bundle.current_dir(&folder).args(["src/entry.js", "--bundle"]);
    bundle.arg(format!("--outfile={}", build.join("index.js").display()));
    bundle.args(["--format=esm", "--minify", "--external:cloudflare:*", "--log-level=warning"]);
    bundle.args(["--loader:.wasm=copy", "--asset-names=index_bg"]);
    step::run("bundle the guard", &mut bundle)
}

/// Build the npm package, pack it and return the tarball's path.
pub(crate) fn npm(tools: &Tools) -> anyhow::Result<PathBuf> {
    let folder = root().join("npm");
    let wasm = folder.join("wasm");
    let modules = [("edgepass-npm", "bytes.js"), ("edgepass-npm-mask", "mask-bytes.js")];
    for (package, _) in modules {
        bind(tools, package, None, &wasm, &[])?;
    }

    let dist = folder.join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    let mut compile = tools.command(tools.npm_tool("tsc"));
    step::run("compile its TypeScript", compile.args(["--project", "npm"]))?;
    copy_folder(&wasm, &dist.join("wasm"))?;
    for (package, bytes) in modules {
        let module = fs::read(wasm.join(format!("{}_bg.wasm", package.replace('-', "_"))))?;
        let text = base64::engine::general_purpose::STANDARD.encode(module);
        fs::write(dist.join("lib").join(bytes), format!("export default '{text}';\n"))?;
        let types = Path::new(bytes).with_extension("d.ts");
        fs::copy(folder.join("lib").join(&types), dist.join("lib").join(&types))?;
    }
    common_js(tools, &dist)?;
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        fs::copy(root().join(licence), folder.join(licence))?;
    }

    let packed = target_dir().join("npm");
    fs::create_dir_all(&packed)?;
    let mut pack = tools.command("npm");
    pack.current_dir(&folder).args(["pack", "--silent", "--pack-destination"]).arg(&packed);
    let name = step::output("npm pack", &mut pack)?;
    Ok(packed.join(name.trim()))
}

/// Compile the package a second time, as CommonJS, into `cjs`.
fn common_js(tools: &Tools, dist: &Path) -> anyhow::Result<()> {
    let cjs = dist.join("cjs");
    let mut compile = tools.command(tools.npm_tool("tsc"));
    compile.args(["--project", "npm/tsconfig.cjs.json"]);
    step::run("compile its TypeScript as CommonJS", &mut compile)?;
    fs::write(cjs.join("package.json"), "{ \"type\": \"commonjs\" }\n")?;
    let bindings = ["wasm/edgepass_npm", "wasm/edgepass_npm_mask"];
    let names = ["lib/bytes", "lib/mask-bytes"].into_iter().chain(bindings);
    for name in names {
        let file = format!("{name}.js");
        let mut convert = tools.command(tools.npm_tool("esbuild"));
        convert.arg(dist.join(&file)).args(["--format=cjs", "--log-level=warning"]);
        convert.arg(format!("--outfile={}", cjs.join(&file).display()));
        step::output("esbuild", &mut convert)?;
        let types = format!("{name}.d.ts");
        fs::copy(dist.join(&types), cjs.join(&types))?;
    }
    Ok(())
}

/// Build the verifier and copy it beside the inspector's page, into `www/edgepass`.
pub(crate) fn inspector(tools: &Tools) -> anyhow::Result<()> {
    npm(tools)?;
    let folder = root().join("www/edgepass");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let dist = root().join("npm/dist");
    for part in ["lib", "wasm"] {
        fs::create_dir_all(folder.join(part))?;
        for file in fs::read_dir(dist.join(part))? {
            let path = file?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let other_entries = ["workerd.js", "edge-light.js", "external.js"].contains(&name);
            let is_masking = name.starts_with("mask") || name.contains("_mask");
            if name.ends_with(".js") && !other_entries && !is_masking {
                fs::copy(&path, folder.join(part).join(name))?;
            }
        }
    }
    Ok(())
}

/// Build the probe, which judges third-party vectors on JavaScript hosts. Return its folder.
pub(crate) fn probe(tools: &Tools) -> anyhow::Result<PathBuf> {
    let folder = root().join("tests/wasm");
    bind(tools, "edgepass-tests-wasm", None, &folder.join("wasm"), &[])?;
    Ok(folder)
}

/// Compile a crate to Wasm and write its JavaScript bindings into `folder`. `policy` is for the guard.
fn bind(
    tools: &Tools,
    package: &str,
    policy: Option<&Path>,
    folder: &Path,
    options: &[&str],
) -> anyhow::Result<()> {
    let target = "wasm32-unknown-unknown";
    let arguments = ["build", "--quiet", "--locked", "--profile", "edge", "--package"];
    let mut build = cargo(&arguments);
    build.args([package, "--target", target]);
    without_paths(&mut build);
    if let Some(policy) = policy {
        build.env("EDGEPASS_GUARD_POLICY", policy);
    }
    step::run(&format!("compile {package} to Wasm"), &mut build)?;
    let name = package.replace('-', "_");
    let module = target_dir().join(target).join(format!("edge/{name}.wasm"));
    let mut bind = tools.command(tools.cargo_tool("wasm-bindgen"));
    bind.args(["--target", "web", "--omit-default-module-path"]).args(options).arg("--out-dir");
    step::run("bind it to JavaScript", bind.arg(folder).arg(&module))?;
    let bound = folder.join(format!("{name}_bg.wasm"));
    optimise(tools, &bound, &["-Oz", "--converge", "--strip-debug", "--strip-producers"])?;
    tell_size(tools, &bound)
}

/// Keep this machine's paths out of the module, since panic messages contain source paths.
fn without_paths(build: &mut Command) {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let sources = home.unwrap_or_default().join("registry/src");
    let remapped = format!("--remap-path-prefix={}=crates", sources.display());
    build.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", remapped);
}

fn optimise(tools: &Tools, module: &Path, passes: &[&str]) -> anyhow::Result<()> {
    let mut optimise = tools.command(tools.npm_tool("wasm-opt"));
    optimise.arg(module).arg("-o").arg(module).args(passes);
    step::output("wasm-opt", &mut optimise).map(drop)
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Print the size of a module.
fn tell_size(tools: &Tools, module: &Path) -> anyhow::Result<()> {
    let (bytes, zipped) = (fs::metadata(module)?.len(), zipped(tools, module)?);
    step::tell(&format!("  {} KB of Wasm, {} KB gzipped", bytes / 1000, zipped / 1000));
    Ok(())
}

/// Return the size of a module after gzip, in bytes.
pub(crate) fn zipped(tools: &Tools, module: &Path) -> anyhow::Result<u64> {
    let zip = "console.log(require('zlib').gzipSync(fs.readFileSync(process.argv[1]), { level: 9 }).length)";
    let mut zip = tools.node(&["--eval", zip]);
    Ok(step::output("gzip", zip.arg(module))?.trim().parse()?)
}

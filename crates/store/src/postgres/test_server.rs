//! A PostgreSQL server for the tests: that of `EDGEPASS_TEST_POSTGRES`, or one that lives as long as the process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// The URL of a database of the server. Starts it first.
pub(super) fn url() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| match std::env::var("EDGEPASS_TEST_POSTGRES") {
        Ok(url) => url,
        Err(_) => start(),
    })
}

/// Starts a server that listens at a socket in a new folder. It ends, and the folder goes, when the pipe to its
/// standard input closes: with this process.
fn start() -> String {
    static SERVER: OnceLock<Child> = OnceLock::new();
    let programs = programs().expect(
        "the tests of PostgreSQL need its server; run `apt-get install -y postgresql`, or name one by EDGEPASS_TEST_POSTGRES",
    );
    let folder = tempfile::Builder::new().prefix("edgepass-pg-").tempdir().unwrap().keep();
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    // The server refuses to run as root.
    let other_user =
        if is_root { "setpriv --reuid=postgres --regid=postgres --clear-groups" } else { "" };
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "sh"]).arg(&programs).arg(&folder).arg(other_user);
    let log = std::fs::File::create(folder.join("log")).unwrap();
    command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
    let server = command.spawn().unwrap();
    SERVER.set(server).unwrap();
    let shown = folder.display().to_string();
    // A minute at most.
    for _ in 0..1200 {
        if ready(&programs, &folder) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    assert!(ready(&programs, &folder), "the server does not start: {log}");
    format!("postgres://postgres@{}/postgres", shown.replace('/', "%2F"))
}

fn ready(programs: &Path, folder: &Path) -> bool {
    let mut command = Command::new(programs.join("pg_isready"));
    let command = command.arg("-q").arg("-h").arg(folder);
    command.status().is_ok_and(|status| status.success())
}

/// The folder of the newest server's programs.
fn programs() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = debian.map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().find(|folder| folder.join("initdb").exists())
}

/// Programs, folder, and the words before a command that runs as another user than root.
const SCRIPT: &str = r#"
set -e
if [ -n "$3" ]; then chown postgres "$2"; fi
cd "$2"
$3 "$1/initdb" --pgdata="$2/data" --username=postgres --auth=trust --encoding=UTF8 --no-locale --no-sync
$3 "$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c max_connections=400 </dev/null &
server=$!
read -r _ || true
kill -INT "$server"
wait "$server" || true
cd /
rm -rf "$2"
"#;

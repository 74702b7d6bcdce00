//! Issuers on a PostgreSQL server.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{Issuer, assert_refused, ended, said, serving, test_server};

/// An issuer with a database of its own on the test server.
struct OnServer {
    issuer: Issuer,
    database: String,
}

/// A process that serves. It is killed with the value.
struct Server {
    process: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn get(&self, path: &str) -> Option<String> {
        let answer = ureq::get(format!("{}/{path}", self.url)).call().ok()?;
        answer.into_body().read_to_string().ok()
    }

    fn wait_until_ready(&self) {
        for _ in 0..400 {
            if self.get("readyz").is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{} is not ready", self.url);
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }
}

impl OnServer {
    fn new() -> Self {
        static DATABASES: AtomicU32 = AtomicU32::new(0);
        let number = DATABASES.fetch_add(1, Relaxed);
        let name = format!("cli_{}_{number}", std::process::id());
        let server = test_server::url();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = PgConnection::connect(server).await.unwrap();
            let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
            sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
        });
        let (before, _) = server.rsplit_once('/').unwrap();
        let database = format!("{before}/{name}");
        let made = Self { issuer: Issuer { folder: tempfile::tempdir().unwrap() }, database };
        let output = made.run(&["init", "."]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        made
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.issuer.command(arguments);
        command.env("EDGEPASS_DATABASE_URL", &self.database);
        command
    }

    fn run(&self, arguments: &[&str]) -> std::process::Output {
        ended(&mut self.command(arguments))
    }

    /// Starts `serve` in a folder of its own, as on another machine.
    fn serve(&self, folder: &str) -> Server {
        let listen = serving::free_address();
        let folder = self.issuer.path(folder);
        std::fs::create_dir(&folder).unwrap();
        let text = std::fs::read_to_string(self.issuer.path("edgepass.toml")).unwrap();
        let text = text.replace("listen = \"127.0.0.1:8787\"", &format!("listen = \"{listen}\""));
        std::fs::write(folder.join("edgepass.toml"), text).unwrap();
        std::fs::copy(self.issuer.path("master.key"), folder.join("master.key")).unwrap();
        let mut command = self.command(&["serve"]);
        let process = command.current_dir(folder).stderr(Stdio::null()).spawn().unwrap();
        Server { process, url: format!("http://{listen}") }
    }

    /// Issues a token and revokes it.
    fn revoke_one(&self) {
        let issued = self.run(&["issue", "--role", "invoice-reader"]);
        std::fs::write(self.issuer.path("token"), issued.stdout).unwrap();
        let revoked = self.run(&["revoke", "--reason", "test", "token"]);
        assert_eq!(revoked.status.code(), Some(0), "{}", said(&revoked));
    }
}

/// What both serve, once they serve the same.
fn same(servers: [&Server; 2]) -> Vec<String> {
    let all = |server: &Server| -> Option<Vec<String>> {
        let aggregation = server.get("status-list-aggregation")?;
        let named: serde_json::Value = serde_json::from_str(&aggregation).unwrap();
        let mut all = vec![server.get(".well-known/jwks.json")?];
        for uri in named["status_lists"].as_array().unwrap() {
            let (_, id) = uri.as_str().unwrap().rsplit_once('/').unwrap();
            all.push(server.get(&format!("status-lists/{id}"))?);
        }
        Some(all)
    };
    for _ in 0..100 {
        if let [Some(one), Some(other)] = servers.map(all)
            && one == other
            && one.len() > 1
        {
            return one;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("they serve other documents");
}

#[test]
fn several_processes_serve_one_issuer_and_another_publishes_when_one_hangs() {
    let on_server = OnServer::new();
    let one = on_server.serve("one");
    one.wait_until_ready();
    let other = on_server.serve("other");
    other.wait_until_ready();
    let before = same([&one, &other]);
    on_server.revoke_one();
    let revoked = same([&one, &other]);
    assert_ne!(before, revoked);
    assert_eq!(before[0], revoked[0], "the same keys");

    one.signal("-STOP");
    // What the hanging one would have published.
    std::thread::sleep(Duration::from_secs(4));
    other.wait_until_ready();
    on_server.revoke_one();
    one.signal("-CONT");
    let mut one = one;
    let status = one.process.wait().unwrap();
    assert_eq!(status.code(), Some(3), "it has lost the lease");
    let again = on_server.serve("again");
    again.wait_until_ready();
    let later = same([&again, &other]);
    assert_ne!(later, revoked);

    // One that follows and hangs serves nothing outdated when it goes on.
    again.signal("-STOP");
    on_server.revoke_one();
    again.signal("-CONT");
    assert_ne!(same([&again, &other]), later);
}

#[test]
fn commands_say_what_a_server_needs_instead() {
    let on_server = OnServer::new();
    assert_refused(&on_server.run(&["backup", "/tmp/x.db"]), 2, "pg_dump");
    assert_refused(&on_server.run(&["restore", "/tmp/x.db"]), 2, "pg_restore");
    assert_refused(
        &on_server.run(&["init", "--config", "edgepass.toml"]),
        2,
        "schema edgepass of database cli_",
    );
    let elsewhere = "postgres://u:secret@db.example/issuer";
    let refused = ended(on_server.command(&["tokens"]).env("EDGEPASS_DATABASE_URL", elsewhere));
    assert_refused(&refused, 2, "sslmode=verify-full");
    assert!(!said(&refused).contains("secret"));
}

#[test]
fn a_password_must_not_be_readable_by_others() {
    let issuer = Issuer::new();
    let file = issuer.path("edgepass.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let with =
        |url: &str| text.replace("data_dir = ", &format!("database = \"{url}\"\ndata_dir = "));
    std::fs::write(&file, with("postgres://u:secret@127.0.0.1:1/issuer")).unwrap();
    let chmod = |mode: &str| {
        assert!(Command::new("chmod").arg(mode).arg(&file).status().unwrap().success());
    };
    chmod("640");
    assert_refused(&issuer.run(&["tokens"]), 2, "the password of the database");
    chmod("600");
    let refused = issuer.run(&["tokens"]);
    assert_refused(&refused, 3, "schema edgepass of database issuer at 127.0.0.1:1");
    assert!(!said(&refused).contains("secret"));
    std::fs::write(&file, with("edgepass.db")).unwrap();
    assert_refused(&issuer.run(&["tokens"]), 2, "write the URL of a PostgreSQL database");
}

#[test]
fn a_server_that_was_put_back_is_restored_while_nobody_serves() {
    let on_server = OnServer::new();
    let list = |output: std::process::Output| {
        let issued: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        issued["jti"].as_str().unwrap().to_owned()
    };
    list(on_server.run(&["issue", "--json", "--role", "invoice-reader"]));
    let serving = on_server.serve("one");
    serving.wait_until_ready();
    let restore = ["restore", "--without-targets", "--json"];
    assert!(said(&on_server.run(&restore)).contains("on every machine"));
    serving.signal("-TERM");
    let mut serving = serving;
    serving.process.wait().unwrap();
    assert_refused(&on_server.run(&["restore"]), 2, "--without-targets");
    let restored = on_server.run(&restore);
    assert_eq!(restored.status.code(), Some(0), "{}", said(&restored));
    let restored: serde_json::Value = serde_json::from_slice(&restored.stdout).unwrap();
    assert_eq!(restored["tokens"], 1);
    let again = on_server.serve("again");
    again.wait_until_ready();
    list(on_server.run(&["issue", "--json", "--role", "invoice-reader"]));
    let epoch = restored["epoch"].as_str().unwrap();
    assert!(again.get("status-list-aggregation").unwrap().contains(epoch));
}

//! Helper of the tests: an issuer with a running `serve`.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;

use crate::{Issuer, said};

pub(crate) struct Serving {
    pub(crate) issuer: Issuer,
    pub(crate) url: String,
    pub(crate) secret: String,
    process: Child,
}

impl Serving {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// Starts with a deadline of two seconds.
    pub(crate) fn start_with_deadline() -> Self {
        Self::start_changed(|text| {
            text.replace("deadline = \"10s\"", "deadline = \"2s\"")
                .replace("refresh_interval = \"5s\"", "refresh_interval = \"200ms\"")
                .replace("fetch_timeout = \"2500ms\"", "fetch_timeout = \"300ms\"")
        })
    }

    /// Starts with `more` appended to the configuration.
    pub(crate) fn start_with(more: &str) -> Self {
        Self::start_changed(|text| format!("{text}\n{more}"))
    }

    fn start_changed(change: impl Fn(String) -> String) -> Self {
        let serving = Self::start_prepared(change, |_| {});
        serving.wait_until_ready();
        serving
    }

    /// Starts with a changed configuration, after `prepare` has run. Does not wait until it is ready.
    pub(crate) fn start_prepared(
        change: impl Fn(String) -> String,
        prepare: impl Fn(&Issuer),
    ) -> Self {
        let listen = free_address();
        let issuer = Issuer { folder: tempfile::tempdir().unwrap() };
        let made = issuer.run(&["init", ".", "--listen", &listen, "--json"]);
        assert_eq!(made.status.code(), Some(0), "{}", said(&made));
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let file = issuer.path("edgepass.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace("suspension = false", "suspension = true");
        let may = "id = \"example-service\"\nmay = [\"revoke\"]";
        let text = text.replace("id = \"example-service\"", may);
        std::fs::write(&file, change(text)).unwrap();
        let secret = made["client_secret"].as_str().unwrap().to_owned();
        prepare(&issuer);
        let process = serve(&issuer);

        Self { issuer, url: format!("http://{listen}"), secret, process }
    }

    /// Kills `serve` without warning, then starts it again.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process = serve(&self.issuer);
    }

    /// Kills `serve`, then starts it again with these limits of open files.
    pub(crate) fn restart_with_files(&mut self, soft: u32, hard: u32) {
        self.kill();
        let limits = format!("ulimit -S -n {soft}; ulimit -H -n {hard}; exec \"$@\"");
        let mut shell = Command::new("sh");
        let serve = self.issuer.command(&["serve"]);
        shell.args(["-c", &limits, "sh"]).arg(serve.get_program()).args(serve.get_args());
        shell.current_dir(serve.get_current_dir().unwrap()).stderr(Stdio::null());
        self.process = shell.spawn().unwrap();
    }

    /// Sends SIGTERM and returns the exit code. `None` if `serve` had to be killed after 10 s.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        for _ in 0..100 {
            if let Some(ended) = self.process.try_wait().unwrap() {
                return ended.code();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.kill();
        None
    }

    /// Lets another process be the one that serves.
    pub(crate) fn replace(&mut self, process: Child) {
        self.process = process;
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn wait_until_ready(&self) {
        self.wait_for("serve is ready", || self.get("readyz").is_ok());
    }

    pub(crate) fn wait_for(&self, what: &str, done: impl Fn() -> bool) {
        for _ in 0..500 {
            if done() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("after 5 s still not true: {what}");
    }

    pub(crate) fn get(&self, path: &str) -> Result<String, ureq::Error> {
        ureq::get(format!("{}/{path}", self.url)).call()?.body_mut().read_to_string()
    }

    /// Gets a document, with a timeout of one second.
    pub(crate) fn get_soon(&self, path: &str) -> Result<String, ureq::Error> {
        let request = ureq::get(format!("{}/{path}", self.url)).config();
        let request = request.timeout_global(Some(Duration::from_secs(1))).build();
        request.call()?.body_mut().read_to_string()
    }

    pub(crate) fn issue(&self, arguments: &[&str]) -> String {
        let arguments = [&["issue", "--json", "--role"], arguments].concat();
        let output = self.issuer.run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let issued: Value = serde_json::from_slice(&output.stdout).unwrap();
        issued["jti"].as_str().unwrap().to_owned()
    }

    /// Runs an act, which must succeed, be published, and change `count` tokens.
    pub(crate) fn act(&self, arguments: &[&str], count: u64) -> Value {
        let output = self.issuer.run(&[arguments, &["--reason", "test", "--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(value["count"], count, "{arguments:?}: {value}");
        value
    }

    pub(crate) fn tokens(&self) -> Vec<Value> {
        super::lines(&self.issuer.run(&["tokens", "--json"]).stdout)
    }

    pub(crate) fn status(&self, jti: &str) -> String {
        let tokens = self.tokens();
        let token = tokens.iter().find(|token| token["jti"] == jti).unwrap();
        token["status"].as_str().unwrap().to_owned()
    }

    pub(crate) fn post(&self, secret: &str, body: &Value) -> (u16, Value) {
        self.send("status-acts", secret, &body.to_string())
    }

    /// Process id of `serve`.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Value of `Authorization` for the configured client.
    pub(crate) fn basic(&self) -> String {
        basic(&self.secret)
    }

    /// Posts a body as the configured client, with `secret`. The media type follows from the body.
    pub(crate) fn send(&self, path: &str, secret: &str, body: &str) -> (u16, Value) {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let request = agent.post(format!("{}/{path}", self.url));
        let request = request.header("authorization", basic(secret));
        let media_type = if body.starts_with('{') { "json" } else { "x-www-form-urlencoded" };
        let request = request.header("content-type", format!("application/{media_type}"));
        let mut response = request.send(body).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap_or_default())
    }
}

fn basic(secret: &str) -> String {
    use base64::Engine;
    let credentials = format!("example-service:{secret}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(credentials))
}

/// A free address whose port is below those of outgoing connections. One of these could take a
/// higher port while an issuer restarts.
pub(crate) fn free_address() -> String {
    static DRAWN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..100 {
        let drawn = std::process::id().wrapping_add(DRAWN.fetch_add(61, Relaxed));
        let address = format!("127.0.0.1:{}", 12_000 + drawn % 10_000);
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
    panic!("no port between 12,000 and 22,000 is free");
}

fn serve(issuer: &Issuer) -> Child {
    issuer.command(&["serve"]).stderr(Stdio::null()).spawn().unwrap()
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

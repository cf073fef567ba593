//! Runs the real program against a fake daemon: an HTTP server that answers what a test tells it to.

// Each test file uses its own part of this.
#![allow(dead_code, reason = "shared by several test programs")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use qfzz_ledger_core::ids::{FederationId, Name, StationId};
use qfzz_node::ticket::Ticket;
use serde_json::{Value, json};

/// The program under test, with nothing of the caller's environment that it would read.
pub(crate) fn qfzz(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qfzz"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QFZZ_") {
            command.env_remove(name);
        }
    }
    command.env("QFZZ_DATA_DIR", data_dir).stdin(Stdio::null());
    command
}

/// A ticket of a federation that nobody runs.
pub(crate) fn ticket() -> String {
    let station = StationId::from_bytes([7; 32]);
    let address = format!("/ip4/192.0.2.1/tcp/4811/p2p/{station}").parse().expect("an address");
    let ticket = Ticket::new(FederationId::from_bytes([9; 32]), Name::default(), vec![address]);
    ticket.expect("one address with a peer id").to_string()
}

/// What a command printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Standard output as one JSON value, and nothing else.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no single JSON value ({error}): {self:?}"))
    }

    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Runs the program to its end.
pub(crate) fn run(data_dir: &Path, arguments: &[&str]) -> Ran {
    qfzz(data_dir).args(arguments).output().expect("the program starts").into()
}

/// Runs the program with `input` on its standard input.
pub(crate) fn run_with_input(data_dir: &Path, arguments: &[&str], input: &[u8]) -> Ran {
    let mut child = qfzz(data_dir)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // It may end before it has read everything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("written");
    output.into()
}

/// A request as the fake daemon got it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query, still encoded.
    pub(crate) target: String,
    pub(crate) token: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// What the fake daemon answers.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Closes the connection before the body is whole.
    pub(crate) cut: bool,
}

impl Reply {
    pub(crate) fn ok(value: Value) -> Self {
        Self { status: 200, body: value.to_string().into_bytes(), cut: false }
    }

    pub(crate) fn empty() -> Self {
        Self { status: 204, body: Vec::new(), cut: false }
    }

    pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Self {
        let problem =
            json!({ "type": "about:blank", "title": "Refused", "status": status, "code": code, "detail": detail });
        Self { status, ..Self::ok(problem) }
    }
}

/// The fake daemon: every answer says that it is a fake, in the header `Server`.
pub(crate) struct Fake {
    pub(crate) data_dir: tempfile::TempDir,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Fake {
    /// Starts a fake daemon that answers by `answer`, and tells its address in a fresh data directory.
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let data_dir = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::fs::write(data_dir.path().join("api.addr"), format!("{address}\n")).expect("written");
        std::fs::write(data_dir.path().join("api.token"), format!("{}\n", "ab".repeat(32))).expect("written");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&requests), Arc::new(answer));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || serve(connection, &log, &*answer));
            }
        });
        Self { data_dir, requests }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.data_dir.path().to_owned()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(self.data_dir.path(), arguments)
    }

    /// The requests so far, as `METHOD target`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.requests().iter().map(|request| format!("{} {}", request.method, request.target)).collect()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("nobody panicked").clone()
    }
}

fn serve(connection: TcpStream, log: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Reply) {
    let mut reader = BufReader::new(connection.try_clone().expect("a second handle"));
    let mut writer = connection;
    while let Some(request) = read_request(&mut reader) {
        log.lock().expect("nobody panicked").push(request.clone());
        let Reply { status, body, cut } = answer(&request);
        let length = body.len() + usize::from(cut);
        let head = format!("HTTP/1.1 {status} Fake\r\nServer: fake-qfzz\r\nContent-Length: {length}\r\n\r\n");
        let sent = writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&body));
        if sent.is_err() || cut {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut request = Request { method, target, token: None, content_type: None, body: Vec::new() };
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "content-type" => request.content_type = Some(value.to_owned()),
            "authorization" => request.token = Some(value.to_owned()),
            _ => {}
        }
    }
    reader.take(length).read_to_end(&mut request.body).ok()?;
    Some(request)
}

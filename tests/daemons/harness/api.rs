//! A client of one daemon's HTTP API, as an outside program would write it.

use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use reqwest::Method;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::Namespace;

/// How long one answer may take: far above every limit that a test asserts.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The API of one daemon, until that process ends.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    token: String,
    http: Client,
}

/// One whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The response's headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub body: String,
}

impl Answer {
    fn from_response(response: Response) -> reqwest::Result<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, body: response.text()? })
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON: {error}: {self:?}"))
    }

    /// The body of a success.
    ///
    /// # Panics
    /// On any other status.
    #[track_caller]
    pub fn success(&self) -> Value {
        assert!((200..300).contains(&self.status), "refused: {self:?}");
        self.json()
    }
}

impl Api {
    /// The API at `address` (`HOST:PORT`), reached from inside `namespace` where one is given.
    pub(crate) fn new(address: &str, token: String, namespace: Option<&Namespace>) -> Self {
        let connect = || {
            // The daemon closes connections on which nothing comes for 10 s: a client must not take one up at that moment.
            let builder = Client::builder().no_proxy().timeout(TIMEOUT).pool_idle_timeout(Duration::from_secs(5));
            builder.build().expect("a client of plain HTTP can be built")
        };
        // The client's own thread opens the sockets, and starts in the namespace of the one that builds it.
        let http = match namespace {
            Some(namespace) => namespace.enter(connect),
            None => connect(),
        };
        Self { base: format!("http://{address}"), token, http }
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The token that writes need.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A request as yet without token, to send as wished.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Sends what [`request`](Self::request) began.
    ///
    /// # Errors
    /// Where the daemon cannot be reached or goes away.
    pub fn send(request: RequestBuilder) -> reqwest::Result<Answer> {
        Answer::from_response(request.send()?)
    }

    /// Reads `path`.
    ///
    /// # Errors
    /// Where the daemon cannot be reached or goes away.
    pub fn try_get(&self, path: &str) -> reqwest::Result<Answer> {
        Self::send(self.request(Method::GET, path))
    }

    /// Writes `body` to `path`, with the token.
    ///
    /// # Errors
    /// Where the daemon cannot be reached or goes away.
    pub fn try_post(&self, path: &str, body: &Value) -> reqwest::Result<Answer> {
        Self::send(self.request(Method::POST, path).bearer_auth(&self.token).json(body))
    }

    /// Writes JSON lines to `path`, with the token.
    ///
    /// # Errors
    /// Where the daemon cannot be reached or goes away.
    pub fn try_post_lines(&self, path: &str, lines: &str) -> reqwest::Result<Answer> {
        let request = self.request(Method::POST, path).bearer_auth(&self.token);
        Self::send(request.header("content-type", "application/x-ndjson").body(lines.to_owned()))
    }

    /// Reads `path` of a daemon that lives.
    ///
    /// # Panics
    /// Without a success.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        match self.try_get(path) {
            Ok(answer) if (200..300).contains(&answer.status) => answer.json(),
            Ok(answer) => panic!("GET {path}: {answer:?}"),
            Err(error) => panic!("GET {path}: {error:?}"),
        }
    }

    /// Writes `body` to `path` of a daemon that lives.
    ///
    /// # Panics
    /// Without a success.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        match self.try_post(path, body) {
            Ok(answer) if (200..300).contains(&answer.status) => answer,
            Ok(answer) => panic!("POST {path} {body}: {answer:?}"),
            Err(error) => panic!("POST {path} {body}: {error:?}"),
        }
    }

    /// Posts one record and returns its id.
    ///
    /// # Panics
    /// If it is not created.
    #[track_caller]
    pub fn record(&self, record: &Value) -> String {
        let answer = self.post("/v1/records", record);
        assert_eq!(answer.status, 201, "{answer:?}");
        text(&answer.json(), "record_id")
    }

    /// Mines one block and returns it, or `None` when nothing is pending.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn mine(&self) -> Option<Value> {
        let answer = self.post("/v1/mine", &json!({}));
        (answer.status != 204).then(|| answer.success())
    }

    /// Index and hash of its head.
    #[track_caller]
    pub fn head(&self) -> (u64, String) {
        let status = self.get("/v1/status");
        (number(&status["head"], "index"), text(&status["head"], "hash"))
    }

    /// All its blocks from `from` on, in order, up to the head at the time of the call.
    #[track_caller]
    pub fn blocks(&self, from: u64) -> Vec<Value> {
        let (head, _) = self.head();
        let mut blocks: Vec<Value> = Vec::new();
        while from + (blocks.len() as u64) <= head {
            let next = from + blocks.len() as u64;
            let page = self.get(&format!("/v1/chain/blocks?from={next}&limit=100"));
            let page = page.as_array().filter(|page| !page.is_empty());
            blocks.extend(page.unwrap_or_else(|| panic!("blocks from {next} to {head} are an array")).iter().cloned());
        }
        blocks
    }

    /// Opens the stream of events, from after `last_event_id` where it is given.
    ///
    /// # Panics
    /// If it is refused.
    pub fn events(&self, last_event_id: Option<u64>) -> Events {
        let mut request = self.request(Method::GET, "/v1/events").timeout(Duration::from_secs(3_600));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id.to_string());
        }
        let response = request.send().expect("the stream of events can be opened");
        assert_eq!(response.status().as_u16(), 200);
        let (events, received) = channel();
        thread::spawn(move || {
            let mut name = String::new();
            let mut data = String::new();
            // Ends with the daemon, or when nobody receives any more.
            for line in BufReader::new(response).lines().map_while(Result::ok) {
                if let Some(value) = line.strip_prefix("event:") {
                    value.trim().clone_into(&mut name);
                } else if let Some(value) = line.strip_prefix("data:") {
                    data.push_str(value.trim());
                } else if line.is_empty()
                    && events.send((std::mem::take(&mut name), std::mem::take(&mut data))).is_err()
                {
                    return;
                }
            }
        });
        Events(received)
    }
}

/// The server-sent events of one daemon.
pub struct Events(Receiver<(String, String)>);

impl Events {
    /// Waits for an event `name` whose data holds `part`, and skips all others.
    ///
    /// # Panics
    /// After `deadline`, or when the stream ends.
    #[track_caller]
    pub fn expect(&self, name: &str, part: &str, deadline: Duration) {
        let end = std::time::Instant::now() + deadline;
        let mut seen = Vec::new();
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            match self.0.recv_timeout(left) {
                Ok((event, data)) if event == name && data.contains(part) => return,
                Ok(other) => seen.push(other),
                Err(error) => panic!("no event {name} with {part} within {deadline:?} ({error}), but {seen:?}"),
            }
        }
    }

    /// Waits for the next event `name`, skips all others, and returns its data.
    ///
    /// # Panics
    /// After `deadline`, or when the stream ends.
    #[track_caller]
    pub fn next_of(&self, name: &str, deadline: Duration) -> Value {
        let end = std::time::Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            match self.0.recv_timeout(left) {
                Ok((event, data)) if event == name => {
                    return serde_json::from_str(&data).unwrap_or_else(|error| panic!("no JSON: {error}: {data}"));
                }
                Ok(_other) => {}
                Err(error) => panic!("no event {name} within {deadline:?} ({error})"),
            }
        }
    }

    /// Waits until the daemon ends the stream.
    ///
    /// # Panics
    /// After `deadline`.
    pub fn expect_end(&self, deadline: Duration) {
        let end = std::time::Instant::now() + deadline;
        while let Ok(_event) = self.0.recv_timeout(end.saturating_duration_since(std::time::Instant::now())) {}
        assert!(std::time::Instant::now() < end, "the stream of events is still open after {deadline:?}");
    }
}

/// The text at `key`.
#[track_caller]
fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is a text: {value}")).to_owned()
}

/// The number at `key`.
#[track_caller]
fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} is a number: {value}"))
}

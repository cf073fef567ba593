//! A client of HTTP/1.1 that costs next to nothing: one connection, one request at a time, answers of a known length
//! or in chunks. What is measured is the daemon, not this.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How long an answer may take: catching up with a large chain, or verifying it, takes a while.
const PATIENCE: Duration = Duration::from_secs(600);

/// After this time without a request the connection is made anew: the daemon closes those on which nothing comes.
const IDLE: Duration = Duration::from_secs(5);

/// A connection to one daemon's API.
pub struct Http {
    address: SocketAddr,
    token: String,
    reader: BufReader<TcpStream>,
    used: Instant,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body of a success as JSON; null where there is none.
    ///
    /// # Errors
    /// Any other status, or a body that is no JSON.
    pub fn json(&self) -> Result<Value> {
        ensure!((200..300).contains(&self.status), "{}: {}", self.status, String::from_utf8_lossy(&self.body));
        if self.body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&self.body)?) }
    }
}

impl Http {
    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(address: SocketAddr, token: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { address, token: token.to_owned(), reader: BufReader::new(stream), used: Instant::now() })
    }

    /// Another connection to the same daemon.
    ///
    /// # Errors
    /// What the system says.
    pub fn another(&self) -> Result<Self> {
        Self::connect(self.address, &self.token)
    }

    /// The bytes of a request, for sending it more than once.
    pub fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            self.token,
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    /// Sends the bytes of a request and reads the whole answer.
    ///
    /// # Errors
    /// What the system says, or an answer that is no HTTP.
    pub fn send(&mut self, request: &[u8]) -> Result<Answer> {
        if self.used.elapsed() > IDLE {
            *self = self.another()?;
        }
        self.reader.get_mut().write_all(request)?;
        let (status, length) = self.read_head()?;
        let mut body = Vec::new();
        match length {
            Some(length) => {
                body.resize(length, 0);
                self.reader.read_exact(&mut body)?;
            }
            None => while self.read_chunk(&mut body)? {},
        }
        self.used = Instant::now();
        Ok(Answer { status, body })
    }

    /// Status, and the body's length; `None` where it comes in chunks.
    fn read_head(&mut self) -> Result<(u16, Option<usize>)> {
        let line = self.read_line()?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).context("a status line")?;
        let mut length = Some(0);
        loop {
            let line = self.read_line()?.to_ascii_lowercase();
            match line.split_once(':') {
                Some(("content-length", value)) => length = Some(value.trim().parse()?),
                Some(("transfer-encoding", value)) if value.trim() == "chunked" => length = None,
                Some(_) => {}
                None if line.is_empty() => return Ok((status, length)),
                None => bail!("a header without colon: {line}"),
            }
        }
    }

    /// Adds the next chunk to `body`; false after the last one.
    fn read_chunk(&mut self, body: &mut Vec<u8>) -> Result<bool> {
        let length = usize::from_str_radix(&self.read_line()?, 16)?;
        let from = body.len();
        body.resize(from + length, 0);
        self.reader.read_exact(&mut body[from..])?;
        ensure!(self.read_line()?.is_empty(), "a chunk is longer than it says");
        Ok(length > 0)
    }

    fn read_line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.reader.read_line(&mut line)? > 0, "the daemon closed the connection");
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Reads `path`.
    ///
    /// # Errors
    /// Without a success.
    pub fn get(&mut self, path: &str) -> Result<Value> {
        let request = self.request("GET", path, "application/json", b"");
        self.send(&request)?.json().with_context(|| format!("GET {path}"))
    }

    /// Writes `body` to `path`.
    ///
    /// # Errors
    /// Without a success.
    pub fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        let request = self.request("POST", path, "application/json", body.to_string().as_bytes());
        self.send(&request)?.json().with_context(|| format!("POST {path}"))
    }

    /// Writes JSON lines to `path`; the lines of the answer.
    ///
    /// # Errors
    /// Without a success.
    pub fn post_lines(&mut self, path: &str, lines: &[u8]) -> Result<Vec<u8>> {
        let request = self.request("POST", path, "application/x-ndjson", lines);
        let answer = self.send(&request)?;
        ensure!(answer.status == 200, "POST {path}: {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        Ok(answer.body)
    }

    /// Turns this connection into the stream of the daemon's events, from the oldest that is kept.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn events(mut self) -> Result<Events> {
        let head = format!("GET /v1/events HTTP/1.1\r\nHost: {}\r\nLast-Event-ID: 0\r\n\r\n", self.address);
        self.reader.get_mut().write_all(head.as_bytes())?;
        let (status, _) = self.read_head()?;
        ensure!(status == 200, "the stream of events is refused: {status}");
        Ok(Events { http: self, unread: Vec::new() })
    }
}

/// A daemon's events as they come.
pub struct Events {
    http: Http,
    unread: Vec<u8>,
}

impl Events {
    /// Waits for the next event: its name and data.
    ///
    /// # Errors
    /// When the stream ends.
    pub fn next_event(&mut self) -> Result<(String, String)> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\n\n") {
                let text: Vec<u8> = self.unread.drain(..end + 2).collect();
                let text = String::from_utf8(text)?;
                let field = |name: &str| {
                    let found = text.lines().find_map(|line| line.strip_prefix(name));
                    found.map(|value| value.trim_start().to_owned())
                };
                if let (Some(name), Some(data)) = (field("event:"), field("data:")) {
                    return Ok((name, data));
                }
                continue;
            }
            let mut chunk = Vec::new();
            ensure!(self.http.read_chunk(&mut chunk)?, "the stream of events has ended");
            self.unread.extend(chunk);
        }
    }

    /// Waits for the next event of this name: its data as JSON.
    ///
    /// # Errors
    /// When the stream ends.
    pub fn next_of(&mut self, wanted: &str) -> Result<Value> {
        loop {
            let (name, data) = self.next_event()?;
            if name == wanted {
                return Ok(serde_json::from_str(&data)?);
            }
        }
    }
}

//! Asks the daemon over HTTP.

use std::error::Error;
use std::time::{Duration, Instant};

use reqwest::{Body, Method, Request, RequestBuilder, Response, StatusCode, Url, header};
use serde_json::Value;

use super::failure::Failure;
use super::output::{items, notice};
use crate::data_dir::{self, ApiToken, DataDir};

/// How long the daemon may take to accept a connection: it is on this machine, or near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer that needs no work may take.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of an answer that is read whole, at most: far above what a page of blocks takes.
const MAX_ANSWER: usize = 256 * 1024 * 1024;

/// A daemon's HTTP API.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    dir: DataDir,
    token: Option<ApiToken>,
    /// Whether its address was found in the data directory: whoever has that port may be another program by now.
    is_found: bool,
    /// Whether to tell of each request.
    is_verbose: bool,
}

/// How a question is put.
#[derive(Clone, Copy)]
enum Patience {
    /// The answer needs no work.
    Short,
    /// It needs mining, syncing, a big chain or many records: as long as it takes.
    Long,
}

impl Client {
    /// A client of the daemon at `api`, or else of the one that runs on `dir`; it tells of each request where it
    /// `is_verbose`.
    pub(super) fn new(dir: DataDir, api: Option<&str>, is_verbose: bool) -> Result<Self, Failure> {
        let told = match api {
            Some(_) => None,
            None => dir.read_api_address()?,
        };
        let Some(address) = api.or(told.as_deref()) else {
            return Err(match dir.user() {
                Some(pid) => Failure::NotYet { pid },
                None => Failure::NoDaemon { path: dir.path().to_owned(), start: start_command(&dir) },
            });
        };
        let base = parse_base(address)?;
        // A missing or unreadable token matters only if the daemon asks for it.
        let token = data_dir::read_small(&dir.token_file()).ok().flatten().and_then(|text| ApiToken::from_hex(&text));
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Failure::BadAnswer { why: innermost(&error) })?;
        Ok(Self { http, base, dir, token, is_found: api.is_none(), is_verbose })
    }

    /// GETs the JSON at `path` (its parts, encoded here) with `query`.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        let request = self.request(Method::GET, path, query, Patience::Short)?;
        self.json(self.send(request).await?).await
    }

    /// GETs the list at `path`, at most `limit` of it, in pages of at most `page`; says so on standard error where it goes on,
    /// unless `is_quiet`.
    pub(super) async fn get_list(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        (limit, page): (usize, usize),
        is_quiet: bool,
    ) -> Result<Vec<Value>, Failure> {
        let mut found: Vec<Value> = Vec::new();
        let mut after = None::<String>;
        while found.len() < limit {
            let most = (limit - found.len()).min(page).to_string();
            let paging = [("limit", Some(most.as_str())), ("after", after.as_deref())];
            let paging = paging.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
            let query: Vec<(&str, &str)> = query.iter().copied().chain(paging).collect();
            let (page, next) = self.get_page(path, &query).await?;
            found.extend(items(&page).iter().cloned());
            after = next;
            if after.is_none() {
                return Ok(found);
            }
        }
        if !is_quiet {
            notice(format_args!("note: there may be more than {}: give a larger --limit", found.len()));
        }
        Ok(found)
    }

    /// GETs one page of a list, and where it goes on: the parameter `after` of the next page, which `Link` names.
    async fn get_page(&self, path: &[&str], query: &[(&str, &str)]) -> Result<(Value, Option<String>), Failure> {
        let response = self.send(self.request(Method::GET, path, query, Patience::Short)?).await?;
        let next = response.headers().get(header::LINK).and_then(|link| next_page(&self.base, link.to_str().ok()?));
        Ok((self.json(response).await?, next))
    }

    /// GETs the JSON at `path`, however long it takes to make.
    pub(super) async fn get_slow(&self, path: &[&str]) -> Result<Value, Failure> {
        self.json(self.get_stream(path).await?).await
    }

    /// GETs what is at `path`, to be read piece by piece.
    pub(super) async fn get_stream(&self, path: &[&str]) -> Result<Response, Failure> {
        let request = self.request(Method::GET, path, &[], Patience::Long)?;
        self.send(request).await
    }

    /// POSTs `body` to `path`; `None` if the answer is that there is nothing to say (204).
    pub(super) async fn post(&self, path: &[&str], body: Option<&Value>) -> Result<Option<Value>, Failure> {
        let mut request = self.request(Method::POST, path, &[], Patience::Long)?;
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = self.send(request).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        self.json(response).await.map(Some)
    }

    /// POSTs JSON lines to `path` and returns the lines that come back, up to where the answer broke off, and if so why.
    pub(super) async fn post_lines(
        &self,
        path: &[&str],
        lines: Vec<u8>,
    ) -> Result<(Vec<Value>, Result<(), Failure>), Failure> {
        let (lines, end) = self.post_raw_lines(path, &[], lines).await?;
        let lines: Result<_, _> = lines.iter().map(|line| serde_json::from_slice(line).map_err(unreadable)).collect();
        Ok((lines?, end))
    }

    /// As [`post_lines`](Self::post_lines), with `query`, and each line that comes back as it is.
    pub(super) async fn post_raw_lines(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        lines: Vec<u8>,
    ) -> Result<(Vec<Vec<u8>>, Result<(), Failure>), Failure> {
        let request = self.request(Method::POST, path, query, Patience::Long)?;
        let request = request.header(header::CONTENT_TYPE, "application/x-ndjson").body(lines);
        let response = self.send(request).await?;
        let mut answer = Vec::new();
        let end = self.read_into(response, &mut answer).await;
        // What follows the last line feed is a line that broke off, or nothing.
        let whole = answer.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = answer[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok((lines.map(<[u8]>::to_vec).collect(), end))
    }

    /// POSTs a file of any size to `path` and returns the JSON that comes back.
    pub(super) async fn post_file(&self, path: &[&str], file: Body) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path, &[], Patience::Long)?;
        let request = request.header(header::CONTENT_TYPE, "application/json").body(file);
        self.json(self.send(request).await?).await
    }

    /// The next piece of a streamed answer; `None` at its end.
    pub(super) async fn piece(&self, response: &mut Response) -> Result<Option<impl AsRef<[u8]>>, Failure> {
        response.chunk().await.map_err(|error| self.unreachable(&error))
    }

    fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        patience: Patience,
    ) -> Result<RequestBuilder, Failure> {
        let mut url = self.base.clone();
        // In a URL these two are steps in the tree of paths, however they are encoded.
        if path.iter().any(|part| matches!(*part, "." | "..")) {
            return Err(Failure::Usage { what: "ID", why: "cannot be `.` or `..` in this command".to_owned() });
        }
        url.path_segments_mut().expect("http URLs have paths").pop_if_empty().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let is_write = method != Method::GET;
        let mut request = self.http.request(method, url);
        if let Patience::Short = patience {
            request = request.timeout(READ_TIMEOUT);
        }
        // Most daemons answer reads without it, so it is not shown to whatever may be listening.
        Ok(match &self.token {
            Some(token) if is_write => request.bearer_auth(token.as_str()),
            _ => request,
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let again = request.try_clone();
        let request = request.build().map_err(|error| self.unreachable(&error))?;
        let is_bare = !request.headers().contains_key(header::AUTHORIZATION);
        let mut response = self.execute(request).await?;
        // A read: a daemon whose API listens beyond loopback wants the token for that, too.
        if let (StatusCode::UNAUTHORIZED, true, Some(again), Some(token)) =
            (response.status(), is_bare, again, &self.token)
            && (!self.is_found || self.dir.user().is_some())
        {
            let request = again.bearer_auth(token.as_str()).build().map_err(|error| self.unreachable(&error))?;
            response = self.execute(request).await?;
        }
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let not_a_daemon = Failure::NotADaemon { url: self.base.to_string(), status: status.as_u16() };
        let Ok(problem) = serde_json::from_slice::<Value>(&self.whole(response).await?) else {
            return Err(not_a_daemon);
        };
        let member = |name: &str| problem.get(name).and_then(Value::as_str).map(super::output::clean);
        match (member("code"), member("detail").or_else(|| member("title"))) {
            (Some(code), Some(detail)) => {
                Err(Failure::Refused { status: status.as_u16(), code, detail, token_file: self.dir.token_file() })
            }
            _ => Err(not_a_daemon),
        }
    }

    async fn execute(&self, request: Request) -> Result<Response, Failure> {
        let (asked, started) = (format!("{} {}", request.method(), request.url()), Instant::now());
        let response = self.http.execute(request).await.map_err(|error| self.unreachable(&error))?;
        if self.is_verbose {
            notice(format_args!("{asked}: {} after {} ms", response.status(), started.elapsed().as_millis()));
        }
        Ok(response)
    }

    async fn json(&self, response: Response) -> Result<Value, Failure> {
        serde_json::from_slice(&self.whole(response).await?).map_err(unreadable)
    }

    async fn whole(&self, response: Response) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        self.read_into(response, &mut bytes).await?;
        Ok(bytes)
    }

    /// Reads all of an answer; `bytes` holds what came, also where it broke off.
    async fn read_into(&self, mut response: Response, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        while let Some(piece) = self.piece(&mut response).await? {
            if bytes.len() + piece.as_ref().len() > MAX_ANSWER {
                return Err(Failure::BadAnswer { why: format!("it has over {} MiB", MAX_ANSWER / (1024 * 1024)) });
            }
            bytes.extend_from_slice(piece.as_ref());
        }
        Ok(())
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let (url, start) = (self.base.to_string(), start_command(&self.dir));
        let why = if error.is_timeout() { "it does not answer in time".to_owned() } else { innermost(error) };
        // Without a connection nothing was asked.
        if error.is_connect() {
            Failure::Unreachable { url, why, start }
        } else {
            Failure::BrokeOff { url, why, start }
        }
    }
}

fn unreadable(error: serde_json::Error) -> Failure {
    Failure::BadAnswer { why: error.to_string() }
}

/// The parameter `after` of the page that a `Link` header names as the next.
fn next_page(base: &Url, link: &str) -> Option<String> {
    let (target, _) = link.strip_prefix('<')?.split_once(">; rel=\"next\"")?;
    let url = base.join(target).ok()?;
    url.query_pairs().find(|(name, _)| name == "after").map(|(_, after)| after.into_owned())
}

/// The cause at the bottom, which says more than what is wrapped around it.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// What an operator types to start the daemon of `dir`.
pub(super) fn start_command(dir: &DataDir) -> String {
    match DataDir::of_platform() {
        Ok(default) if default == *dir => "qfzz run".to_owned(),
        _ => format!("qfzz run --data-dir {}", dir.path().display()),
    }
}

/// Reads `http://HOST:PORT`, or `HOST:PORT` alone.
fn parse_base(address: &str) -> Result<Url, Failure> {
    let wrong = |why: &str| Failure::Usage { what: "--api", why: format!("(or QFZZ_API) is `{address}`, {why}") };
    let has_scheme = address.contains("://");
    let text = if has_scheme { address.to_owned() } else { format!("http://{address}") };
    // A word alone is a slip rather than a host with a daemon on port 80.
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if !has_scheme && !has_port {
        return Err(wrong("which has no port: give HOST:PORT, such as 127.0.0.1:4810"));
    }
    let url = Url::parse(&text).map_err(|_| wrong("which is no URL: give one such as http://127.0.0.1:4810"))?;
    match url.scheme() {
        "http" if url.has_host() => Ok(url),
        _ => Err(wrong("but the daemon speaks plain HTTP: give http://HOST:PORT, and use a tunnel for other machines")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client::new(DataDir::new("/nonexistent"), Some("127.0.0.1:1"), false).expect("a client")
    }

    fn url(path: &[&str], query: &[(&str, &str)]) -> String {
        let request = client().request(Method::GET, path, query, Patience::Short).expect("a request");
        request.build().expect("built").url().to_string()
    }

    #[test]
    fn any_id_is_one_part_of_the_path() {
        let encoded = url(&["v1", "trust", "users", "a/b?c#d %e\\é"], &[("station", "x&y=z +")]);
        let expected = "http://127.0.0.1:1/v1/trust/users/a%2Fb%3Fc%23d%20%25e%5C%C3%A9?station=x%26y%3Dz+%2B";
        assert_eq!(encoded, expected);
        assert_eq!(url(&["v1", "trust", "users", "..."], &[]), "http://127.0.0.1:1/v1/trust/users/...");
        for step in [".", ".."] {
            let refused = client().request(Method::GET, &["v1", step], &[], Patience::Short).expect_err("refused");
            assert_eq!(refused.exit_code(), 2);
        }
    }

    #[test]
    fn the_next_page_is_where_the_link_leads() {
        let next = |link: &str| next_page(&client().base, link);
        assert_eq!(next("</v1/datasets?tag=a%26b&after=100>; rel=\"next\""), Some("100".to_owned()));
        assert_eq!(next("</v1/datasets?after=100>; rel=\"prev\""), None);
        assert_eq!(next("</v1/datasets>; rel=\"next\""), None);
    }

    #[test]
    fn the_address_may_be_a_url_or_host_and_port() {
        let base = |text: &str| parse_base(text).map(|url| url.to_string()).map_err(|failure| failure.exit_code());
        assert_eq!(base("127.0.0.1:4810"), Ok("http://127.0.0.1:4810/".to_owned()));
        assert_eq!(base("http://localhost:1/"), Ok("http://localhost:1/".to_owned()));
        assert_eq!(base("http://radio.example"), Ok("http://radio.example/".to_owned()));
        assert_eq!(base("[::1]:4810"), Ok("http://[::1]:4810/".to_owned()));
        for wrong in ["https://localhost", "", "http://", "ftp://x", "a b", "garbage", "localhost:", "localhost:99999"]
        {
            assert_eq!(base(wrong), Err(2), "{wrong}");
        }
    }
}

//! A client of the API in tests.

use super::*;

/// A running API before a fake.
pub(super) struct Api {
    pub(super) fake: Fake,
    pub(super) handle: Handle,
    pub(super) client: Client,
}

/// An answer, its body read.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The status and code of a problem, once it is one in every respect.
    pub(super) fn problem(&self) -> (u16, String) {
        let problem = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        let code = problem["code"].as_str().expect("a code").to_owned();
        assert_eq!(problem["type"], format!("urn:qfzz:problem:{code}"));
        assert_eq!(problem["status"], self.status);
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{}", self.text);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 20), "{}", self.text);
        (self.status, code)
    }
}

impl Api {
    pub(super) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        let fake = Fake::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let access =
            Access::new(ApiToken::from_hex(TOKEN.as_bytes()).expect("64 hex digits"), address, &[]).expect("no hosts");
        let handle = start(listener, fake.clone(), access, limits).expect("an API");
        let client = Client::builder().no_proxy().build().expect("a client");
        Self { fake, handle, client }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.handle.address()
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address()))
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// Posts JSON with the token.
    pub(super) async fn post(&self, path: &str, body: impl Into<String>) -> Answer {
        let request = self.request(Method::POST, path).bearer_auth(TOKEN).header("content-type", "application/json");
        send(request.body(body.into())).await
    }

    /// Posts JSON lines with the token.
    pub(super) async fn bulk(&self, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, "/v1/records/bulk").bearer_auth(TOKEN);
        send(request.header("content-type", "application/x-ndjson").body(body)).await
    }

    /// Writes `request` as it is and reads until the other side closes; `None` if it does not within 10 s.
    pub(super) async fn raw(&self, request: &str) -> Option<String> {
        let mut socket = TcpStream::connect(self.address()).await.expect("a connection");
        let mut answer = Vec::new();
        let exchange = async {
            // Both fail where the other side cuts off a request that it has not read.
            let written = socket.write_all(request.as_bytes()).await;
            written.and(socket.read_to_end(&mut answer).await.map(|_| ()))
        };
        let _ = tokio::time::timeout(Duration::from_secs(10), exchange).await.ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    }
}

pub(super) async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.expect("a whole answer") }
}

//! Who may ask what: the rules for `Host`, `Origin` and the token, decided from a request's head alone.
//!
//! - `Host` must be `localhost`, an address of the loopback network, the address that the API listens on, or one of
//!   `api.hosts`; else 403 `foreign_host`. So a web page cannot reach the node through a name of its own (DNS
//!   rebinding). No port, and any port, will do, unless an entry of `api.hosts` names one.
//! - On writes an `Origin`, where there is one, must be of such a host; else 403 `foreign_origin`, `null` too.
//! - Writes need `Authorization: Bearer` and the token; else 401. Where the API listens beyond loopback, reads need it
//!   too, all but `/livez` and `/readyz`, which supervisors ask. It is asked for only where there is something: a path
//!   or method that does not exist is told so to anybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};

use super::problem::{Code, Problem, quoted};
use crate::data_dir::ApiToken;

/// An entry of `api.hosts` that is no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`api.hosts` holds `{entry}`, which is no host: give names or addresses such as radio.example or radio.example:8443"
)]
pub struct HostError {
    /// The entry.
    pub entry: String,
}

/// A host, and its port where one was given.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    /// In lower case, an IPv6 address without its brackets.
    name: String,
    port: Option<u16>,
}

impl Host {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
    fn parse(text: &str) -> Option<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                let address: Ipv6Addr = address.parse().ok()?;
                (address.to_string(), if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name.to_ascii_lowercase(), Some(port)),
                None => (text.to_ascii_lowercase(), None),
            },
        };
        let port = match port {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
            None => None,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        (!name.is_empty() && name.bytes().all(plain)).then_some(Self { name, port })
    }

    fn is_loopback(&self) -> bool {
        self.name == "localhost"
            || self.name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
            || self.name.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
    }
}

/// The rules, as this node applies them.
#[derive(Clone, Debug)]
pub struct Access {
    token: ApiToken,
    hosts: Vec<Host>,
    open_reads: bool,
}

impl Access {
    /// The rules for an API that listens on `listen`, with the entries of `api.hosts`.
    ///
    /// # Errors
    /// [`HostError`] for an entry that is no host.
    pub fn new(token: ApiToken, listen: SocketAddr, hosts: &[String]) -> Result<Self, HostError> {
        let parse = |entry: &String| Host::parse(entry).ok_or_else(|| HostError { entry: entry.clone() });
        let mut hosts = hosts.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        if !listen.ip().is_unspecified() {
            hosts.push(Host { name: listen.ip().to_string(), port: None });
        }
        Ok(Self { token, hosts, open_reads: is_local(listen.ip()) })
    }

    /// Judges by its head a request for whatever there may be: by host and origin.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    pub fn check_source(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        self.check_host(uri, headers)?;
        if is_read(method) { Ok(()) } else { self.check_origin(headers) }
    }

    /// Judges by its head a request for something that exists: by the token, where it needs one.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    pub fn check_right(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        if is_read(method) && (self.open_reads || is_probe(uri.path())) { Ok(()) } else { self.check_token(headers) }
    }

    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let mut given = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (given.next(), given.next()) else {
            let detail = "the request needs one `Host` header: send the host and port of the API's address";
            return Err(Problem::of_field("Host", Code::MissingHost, detail));
        };
        let host = String::from_utf8_lossy(host.as_bytes());
        // A target in absolute form names a host of its own, which would win.
        let target = uri.authority().map(|authority| authority.as_str());
        for name in [Some(host.as_ref()), target].into_iter().flatten() {
            if !self.is_ours(name) {
                let detail = format!(
                    "`Host` {} is neither local nor configured: use 127.0.0.1 or localhost, or add it to `api.hosts`",
                    quoted(name)
                );
                return Err(Problem::of_field("Host", Code::ForeignHost, detail));
            }
        }
        Ok(())
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Problem> {
        for origin in headers.get_all(header::ORIGIN) {
            let origin = String::from_utf8_lossy(origin.as_bytes());
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if !host.is_some_and(|host| self.is_ours(host)) {
                let detail = format!(
                    "`Origin` {} may not write: send the request from a program, or from a page of this host",
                    quoted(&origin)
                );
                return Err(Problem::of_field("Origin", Code::ForeignOrigin, detail));
            }
        }
        Ok(())
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let refused = |code, detail: &str| Err(Problem::of_field("Authorization", code, detail));
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        match (given.next().map(HeaderValue::as_bytes).map(bearer), given.next()) {
            (Some(Some(token)), None) if self.token.matches(token) => Ok(()),
            (Some(Some(_)), None) => refused(
                Code::WrongToken,
                "`Authorization` does not hold this station's token: send the one in DATA_DIR/api.token",
            ),
            _ => refused(
                Code::MissingToken,
                "this needs one `Authorization: Bearer TOKEN` header: send the token in DATA_DIR/api.token",
            ),
        }
    }

    fn is_ours(&self, text: &str) -> bool {
        let Some(host) = Host::parse(text) else { return false };
        let matches = |ours: &Host| ours.name == host.name && (ours.port.is_none() || ours.port == host.port);
        host.is_loopback() || self.hosts.iter().any(matches)
    }
}

/// Whether supervisors ask for it, who have no token.
pub(super) fn is_probe(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz")
}

fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// Whether only this machine can reach `address`.
fn is_local(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// The token of a `Bearer` header.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEARER: &str = "Bearer 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn token() -> ApiToken {
        ApiToken::from_hex(&BEARER.as_bytes()["Bearer ".len()..]).expect("64 hex digits")
    }

    fn access(listen: &str, hosts: &[&str]) -> Access {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        Access::new(token(), listen.parse().expect("an address"), &hosts).expect("hosts")
    }

    fn judged(access: &Access, method: Method, target: &str, headers: &[(&str, &str)]) -> Result<(), Code> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().expect("a header's name");
            map.append(name, value.parse().expect("a header's value"));
        }
        let target = target.parse().expect("a target");
        let judged =
            access.check_source(&method, &target, &map).and_then(|()| access.check_right(&method, &target, &map));
        judged.map_err(|problem| problem.code)
    }

    #[test]
    fn hosts_are_local_or_configured() {
        let access = access("127.0.0.1:4810", &["Radio.example", "other.example:8443", "[2001:db8::1]"]);
        for host in [
            "127.0.0.1",
            "127.0.0.1:4810",
            "localhost",
            "LOCALHOST:1",
            "[::1]",
            "[::1]:4810",
            "127.8.9.1",
            "radio.example",
            "radio.example:99",
            "other.example:8443",
            "[2001:DB8:0::1]:5",
        ] {
            assert_eq!(judged(&access, Method::GET, "/v1/status", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "0.0.0.0",
            "other.example",
            "other.example:1",
            "localhost:",
            "localhost:x",
            "localhost:99999",
            "[::2]",
            "[::1",
            "[localhost]",
            "::1",
            "",
            "user:localhost",
            "2130706433",
            "localhost/",
        ] {
            assert_eq!(judged(&access, Method::GET, "/v1/status", &[("host", host)]), Err(Code::ForeignHost), "{host}");
        }
        assert_eq!(judged(&access, Method::GET, "/", &[]), Err(Code::MissingHost));
        assert_eq!(
            judged(&access, Method::GET, "/", &[("host", "localhost"), ("host", "localhost")]),
            Err(Code::MissingHost)
        );
        assert_eq!(
            judged(&access, Method::GET, "http://evil.example/", &[("host", "localhost")]),
            Err(Code::ForeignHost)
        );
        assert_eq!(judged(&access, Method::GET, "http://127.0.0.1/", &[("host", "localhost")]), Ok(()));
    }

    #[test]
    fn foreign_origins_may_read_but_not_write() {
        let access = access("127.0.0.1:4810", &["radio.example"]);
        let with = |origin| [("host", "localhost"), ("authorization", BEARER), ("origin", origin)];
        for origin in ["http://localhost:4810", "https://127.0.0.1", "http://[::1]:3000", "https://radio.example"] {
            assert_eq!(judged(&access, Method::POST, "/v1/mine", &with(origin)), Ok(()), "{origin}");
        }
        for origin in
            ["null", "", "http://evil.example", "https://localhost.evil.example", "file://", "localhost", "http://"]
        {
            assert_eq!(judged(&access, Method::POST, "/v1/mine", &with(origin)), Err(Code::ForeignOrigin), "{origin}");
            assert_eq!(
                judged(&access, Method::DELETE, "/v1/mine", &with(origin)),
                Err(Code::ForeignOrigin),
                "{origin}"
            );
            assert_eq!(judged(&access, Method::GET, "/v1/status", &with(origin)), Ok(()), "{origin}");
        }
    }

    #[test]
    fn writes_need_the_token_and_beyond_loopback_reads_too() {
        let (lower, spaced) = (BEARER.replace("Bearer", "bearer"), BEARER.replace("Bearer ", "BEARER  "));
        let longer = format!("{BEARER}0");
        let with = |value| [("host", "localhost"), ("authorization", value)];
        for (listen, open_reads) in
            [("127.0.0.1:1", true), ("[::1]:1", true), ("0.0.0.0:1", false), ("192.0.2.1:1", false)]
        {
            let access = access(listen, &[]);
            for right in [BEARER, &lower, &spaced] {
                assert_eq!(judged(&access, Method::POST, "/v1/mine", &with(right)), Ok(()), "{right}");
            }
            for wrong in [&BEARER[..BEARER.len() - 1], &longer, "Bearer x", "Bearer "] {
                let judged = judged(&access, Method::POST, "/v1/mine", &with(wrong));
                assert!(matches!(judged, Err(Code::WrongToken | Code::MissingToken)), "{wrong}");
            }
            for missing in ["Basic c2VjcmV0", "secret", ""] {
                assert_eq!(
                    judged(&access, Method::POST, "/v1/mine", &with(missing)),
                    Err(Code::MissingToken),
                    "{missing}"
                );
            }
            let without = |path| judged(&access, Method::GET, path, &[("host", "localhost")]);
            assert_eq!(without("/v1/status"), if open_reads { Ok(()) } else { Err(Code::MissingToken) }, "{listen}");
            assert_eq!((without("/livez"), without("/readyz")), (Ok(()), Ok(())));
        }
    }

    #[test]
    fn the_address_that_is_listened_on_is_a_host_of_ours() {
        let access = access("192.0.2.1:4810", &[]);
        let with = |host| [("host", host), ("authorization", BEARER)];
        assert_eq!(judged(&access, Method::GET, "/v1/status", &with("192.0.2.1:4810")), Ok(()));
        assert_eq!(judged(&access, Method::GET, "/v1/status", &with("192.0.2.2:4810")), Err(Code::ForeignHost));
    }

    #[test]
    fn an_entry_that_is_no_host_is_named() {
        for entry in ["http://radio.example", "a b", "", "radio.example:port"] {
            let error = Access::new(token(), "127.0.0.1:1".parse().expect("an address"), &[entry.to_owned()]);
            assert_eq!(error.expect_err("refused"), HostError { entry: entry.to_owned() });
        }
    }
}

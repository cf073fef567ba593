//! A proxy that counts what passes, in all protocols and both ways.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Passes connections on to one address, and counts their bytes.
pub struct Proxy {
    port: u16,
    bytes: Arc<AtomicU64>,
}

impl Proxy {
    /// A proxy before the TCP port `port` of this machine. It runs to the end of the process.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let proxy =
            Self { port: listener.local_addr().expect("a listener has an address").port(), bytes: Arc::default() };
        let bytes = Arc::clone(&proxy.bytes);
        thread::spawn(move || {
            for inner in listener.incoming().map_while(Result::ok) {
                // A station that does not run yet refuses, and so does its proxy.
                let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                let Ok(outer) = TcpStream::connect(target) else { continue };
                pass(&inner, &outer, &bytes);
                pass(&outer, &inner, &bytes);
            }
        });
        proxy
    }

    /// Where it listens, as stations write it.
    pub fn address(&self) -> String {
        format!("/ip4/127.0.0.1/tcp/{}", self.port)
    }

    /// Bytes that passed so far, both ways together.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

/// Passes on what `from` says until it ends.
fn pass(from: &TcpStream, to: &TcpStream, bytes: &Arc<AtomicU64>) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a socket can be shared");
    let (mut from, mut to, bytes) = (clone(from), clone(to), Arc::clone(bytes));
    for socket in [&from, &to] {
        socket.set_nodelay(true).expect("a socket takes its options");
    }
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length) = from.read(&mut buffer)
            && length > 0
        {
            bytes.fetch_add(length as u64, Ordering::SeqCst);
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        // It may be closed already.
        let _ = to.shutdown(Shutdown::Write);
    });
}

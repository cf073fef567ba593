//! Server-sent events: what happens, as it happens, and what a client missed that comes back.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use futures::{StreamExt, stream};
use qfzz_ledger_core::ids::{BlockHash, Height, RecordId, Sequence, StationId};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::App;
use crate::api::body;
use crate::api::dto::{ShownReport, number, text};
use crate::api::port::Station;
use crate::api::problem::{Code, Problem};
use crate::events::{Event, Gap, Resumed};

/// Silence after which a comment is sent, so that proxies and clients see that the stream lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Bytes after which events that wait are left for the next piece.
const CHUNK_BYTES: usize = 16 * 1024;

/// What opens a stream: its headers leave at once, and a client that loses it tries again after 2 s.
const OPENING: &[u8] = b"retry: 2000\n: listening\n\n";

/// The header by which a client that lost the stream names the last event it has.
const LAST_EVENT_ID: &str = "last-event-id";

/// What happens at this station, as it happens
///
/// Server-sent events `block`, `reorganisation`, `record`, `peer`, `equivocation`, `quantum_source_failed` and `sync`, numbered
/// by rising ids. `Last-Event-ID` replays what came after. Where events were missed, because the listener was too slow or came back too late, `lagged`
/// says how many; `{"missed":null}` where the id is not one of this start of the station: then all that is kept follows.
#[utoipa::path(get, path = "/v1/events", operation_id = "events", tag = "events", params(
    ("Last-Event-ID" = Option<u64>, Header, description = "The last event that is known; 0 for all that are kept"),
), responses(
    (status = OK, description = "The stream, which ends when the station stops", body = String, content_type = "text/event-stream"),
))]
pub(super) async fn stream<S: Station>(State(app): State<App<S>>, headers: HeaderMap) -> Result<Response, Problem> {
    let last = headers.get(LAST_EVENT_ID).map(last_event_id).transpose()?;
    let permit = app.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::new(Code::Busy, "too many event streams are open: close one, or try again in a second")
    })?;
    let events = app.station.events();
    let resumed = match last {
        Some(last) => events.resume(last),
        None => Resumed { gap: Gap::None, missed: VecDeque::new(), listener: events.subscribe() },
    };
    let listener = Listener { resumed, stop: app.stop.clone(), _permit: permit };
    let opening = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(OPENING)) });
    let events = stream::unfold(listener, |mut listener| async {
        let chunk = listener.next().await?;
        Some((Ok(chunk), listener))
    });
    let chunks = opening.chain(events).map(|chunk| chunk.map_err(|never| match never {}));
    Ok(body::stream("text/event-stream", chunks))
}

fn last_event_id(value: &HeaderValue) -> Result<u64, Problem> {
    value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        let detail = "`Last-Event-ID` is not a whole number: give the id of the last event, or 0 for all that are kept";
        Problem::of_field("Last-Event-ID", Code::BadParameter, detail)
    })
}

struct Listener {
    resumed: Resumed,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    /// The next piece of the stream; `None` when the node stops.
    async fn next(&mut self) -> Option<Bytes> {
        match std::mem::take(&mut self.resumed.gap) {
            Gap::None => {}
            Gap::Missed(missed) => return Some(lagged(Some(missed))),
            Gap::Unknown => return Some(lagged(None)),
        }
        if let Some(event) = self.resumed.missed.pop_front() {
            return Some(self.with_those_behind(event.written(written)));
        }
        let next = timeout(KEEP_ALIVE, self.resumed.listener.recv());
        match self.stop.run_until_cancelled(next).await? {
            Ok(Ok(event)) => Some(self.with_those_behind(event.written(written))),
            Ok(Err(RecvError::Lagged(missed))) => Some(lagged(Some(missed))),
            Ok(Err(RecvError::Closed)) => None,
            Err(_) => Some(Bytes::from_static(b":\n\n")),
        }
    }

    /// An event, and those that wait behind it already: a write to the socket costs more than all of them.
    fn with_those_behind(&mut self, first: Bytes) -> Bytes {
        let Some(second) = self.behind() else { return first };
        let mut chunk = [first, second].concat();
        while chunk.len() < CHUNK_BYTES
            && let Some(next) = self.behind()
        {
            chunk.extend_from_slice(&next);
        }
        chunk.into()
    }

    /// An event that waits already.
    fn behind(&mut self) -> Option<Bytes> {
        let Resumed { gap, missed, listener } = &mut self.resumed;
        let next = match missed.pop_front() {
            Some(next) => next,
            None => match listener.try_recv() {
                Ok(next) => next,
                Err(TryRecvError::Lagged(many)) => {
                    *gap = Gap::Missed(many);
                    return None;
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            },
        };
        Some(next.written(written))
    }
}

fn written(id: u64, event: &Event) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Data<'a> {
        Block {
            #[serde(serialize_with = "text")]
            hash: BlockHash,
            #[serde(serialize_with = "number")]
            index: Height,
            records: u64,
        },
        Reorganisation {
            depth: u64,
            #[serde(serialize_with = "text")]
            from: BlockHash,
            #[serde(serialize_with = "text")]
            to: BlockHash,
        },
        Record {
            #[serde(serialize_with = "text")]
            record_id: RecordId,
        },
        Peer {
            #[serde(serialize_with = "text")]
            peer_id: StationId,
            connected: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<&'a str>,
        },
        Equivocation {
            #[serde(serialize_with = "text")]
            station_id: StationId,
            #[serde(serialize_with = "number")]
            sequence: Sequence,
        },
        QuantumSourceFailed {
            test: &'static str,
        },
        Sync(ShownReport),
    }
    let (name, data) = match event {
        Event::Block { hash, index, records } => {
            ("block", Data::Block { hash: *hash, index: *index, records: *records })
        }
        Event::Reorganisation { depth, from, to } => {
            ("reorganisation", Data::Reorganisation { depth: *depth, from: *from, to: *to })
        }
        Event::Record { record_id } => ("record", Data::Record { record_id: *record_id }),
        Event::Peer { station, connected, reason } => {
            ("peer", Data::Peer { peer_id: *station, connected: *connected, reason: reason.as_deref() })
        }
        Event::Equivocation { station, sequence } => {
            ("equivocation", Data::Equivocation { station_id: *station, sequence: *sequence })
        }
        Event::QuantumSourceFailed { test } => {
            ("quantum_source_failed", Data::QuantumSourceFailed { test: test.name() })
        }
        Event::Sync(report) => ("sync", Data::Sync((&**report).into())),
    };
    framed(Some(id), name, &data)
}

/// Tells a listener that it missed events, and how many; `None` where nobody can know.
fn lagged(missed: Option<u64>) -> Bytes {
    #[derive(Serialize)]
    struct Data {
        missed: Option<u64>,
    }
    framed(None, "lagged", &Data { missed }).into()
}

fn framed(id: Option<u64>, name: &str, data: &impl Serialize) -> Vec<u8> {
    let data = serde_json::to_string(data).expect("texts and numbers can be written as JSON");
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // JSON holds no line break outside of its escapes, so one `data` line is enough.
    format!("{id}event: {name}\ndata: {data}\n\n").into_bytes()
}

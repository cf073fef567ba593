//! Many records at once: read from a file or made here, sent in chunks, each id printed in order.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::client::Client;
use super::failure::Failure;
use super::output::{Output, clean, count, notice, show};
use super::progress::{Progress, explain_wait, show_elapsed};

/// Bytes of one chunk, at most; far below the 8 MiB that the daemon takes, so that ids come soon.
const MAX_CHUNK_BYTES: usize = 1024 * 1024;

/// Lines of one chunk, at most: a few full batches for each commit of the daemon.
const MAX_CHUNK_LINES: usize = 4_096;

/// Bytes of one line, at most. A record with full ids and metadata takes some 10 KiB even where JSON escapes all.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// How long to ask again while the daemon is busy, and how long to wait before each time.
const BUSY_TIME: Duration = Duration::from_secs(30);
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Lines that are read ahead of what is sent: one chunk.
const READ_AHEAD: usize = MAX_CHUNK_LINES;

/// One line of the input.
pub(super) struct Line {
    /// Its number, from 1.
    pub(super) number: u64,
    /// How far the input is read with it, in the unit in which the input is measured.
    read: u64,
    /// What is in it, or why it cannot be sent.
    pub(super) text: Result<Vec<u8>, BadLine>,
}

/// Why a line is not even sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadLine {
    #[error("the line has over {MAX_LINE_BYTES} bytes: shorten it")]
    TooLong,
    #[error("the line is not UTF-8: convert it")]
    NotUtf8,
}

impl BadLine {
    /// The code that the daemon has for it.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::TooLong => "line_too_long",
            Self::NotUtf8 => "not_json",
        }
    }
}

/// How the lines come.
#[derive(Clone, Copy)]
enum Supply {
    /// All are there, so chunks are full.
    Ready,
    /// Somebody may still be writing: what is there is sent, and nobody waits for a full chunk.
    Live,
}

/// What became of the lines so far.
struct Tally {
    stored: u64,
    refused: u64,
    /// The number of the first line of which nothing is known.
    next: u64,
}

/// Lines that are read from a file, or from standard input.
pub(super) struct Input {
    lines: mpsc::Receiver<io::Result<Line>>,
    supply: Supply,
    /// Its bytes, where that is known.
    size: Option<u64>,
}

impl Input {
    /// Opens a file, or standard input if `from` is `-`.
    pub(super) fn open(from: &str) -> Result<Self, Failure> {
        let unusable = |source| Failure::Input { path: PathBuf::from(from), source };
        let (input, supply, size): (Box<dyn Read + Send>, _, _) = match from {
            "-" => (Box::new(io::stdin()), Supply::Live, None),
            _ => {
                let file = File::open(from).map_err(unusable)?;
                let metadata = file.metadata().map_err(unusable)?;
                if metadata.is_dir() {
                    return Err(unusable(io::ErrorKind::IsADirectory.into()));
                }
                // A pipe or device has no size.
                let size = Some(metadata.len()).filter(|_| metadata.is_file());
                (Box::new(file), Supply::Ready, size)
            }
        };
        let (sender, lines) = mpsc::channel(READ_AHEAD);
        // A thread of its own: a read from a terminal or pipe cannot be cancelled, and must not hold up the end.
        std::thread::spawn(move || {
            read_lines(BufReader::with_capacity(256 * 1024, input), |line| sender.blocking_send(line).is_ok())
        });
        Ok(Self { lines, supply, size })
    }

    /// The next lines, as [`next_chunk`]; `broken` learns why the input ended early.
    pub(super) async fn next_chunk(&mut self, broken: &mut io::Result<()>) -> Option<Vec<Line>> {
        next_chunk(&mut self.lines, self.supply, broken).await
    }
}

/// Stores the records of a file, or of standard input if `from` is `-`.
pub(super) async fn record_from(client: &Client, from: &str, out: &mut Output) -> Result<(), Failure> {
    let Input { lines, supply, size } = Input::open(from)?;
    let progress = Progress::start("recording", "bytes", out);
    let stored = store_all(client, lines, supply, (progress, size), out).await?;
    stored.map_err(|source| Failure::File { doing: "read", path: PathBuf::from(from), source })
}

/// Stores the same record several times.
pub(super) async fn record_times(client: &Client, record: &Value, times: u64, out: &mut Output) -> Result<(), Failure> {
    let (lines, from_maker) = mpsc::channel(READ_AHEAD);
    let text = record.to_string().into_bytes();
    let make = async move {
        for number in 1..=times {
            if lines.send(Ok(Line { number, read: number, text: Ok(text.clone()) })).await.is_err() {
                break;
            }
        }
    };
    let progress = (Progress::start("recording", "records", out), Some(times));
    let ((), stored) = tokio::join!(make, store_all(client, from_maker, Supply::Ready, progress, out));
    stored?.expect("nothing is read");
    Ok(())
}

/// What some editors put before the first line of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Hands over each line but empty ones, until `take` wants no more. An error of the input ends it.
fn read_lines(mut input: impl BufRead, mut take: impl FnMut(io::Result<Line>) -> bool) {
    let mut read = 0;
    for number in 1.. {
        let mut text = Vec::new();
        match input.by_ref().take(MAX_LINE_BYTES as u64 + 2).read_until(b'\n', &mut text) {
            Ok(0) => return,
            Ok(bytes) => read += bytes as u64,
            Err(error) => {
                take(Err(error));
                return;
            }
        }
        if number == 1 && text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len());
        }
        let is_whole = text.last() == Some(&b'\n') || text.len() < MAX_LINE_BYTES + 2;
        while text.last().is_some_and(|byte| b"\r\n".contains(byte)) {
            text.pop();
        }
        let text = if !is_whole || text.len() > MAX_LINE_BYTES {
            if !is_whole {
                match skip_line(&mut input) {
                    Ok(bytes) => read += bytes,
                    Err(error) => {
                        take(Err(error));
                        return;
                    }
                }
            }
            Err(BadLine::TooLong)
        } else if std::str::from_utf8(&text).is_err() {
            Err(BadLine::NotUtf8)
        } else {
            Ok(text)
        };
        let is_empty = text.as_ref().is_ok_and(|text| text.trim_ascii().is_empty());
        if !is_empty && !take(Ok(Line { number, read, text })) {
            return;
        }
    }
}

/// Reads to the end of the line and keeps nothing; returns how many bytes that were.
fn skip_line(input: &mut impl BufRead) -> io::Result<u64> {
    let mut bytes = 0;
    loop {
        let ahead = input.fill_buf()?;
        let (length, is_end) = match ahead.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (ahead.len(), ahead.is_empty()),
        };
        input.consume(length);
        bytes += length as u64;
        if is_end {
            return Ok(bytes);
        }
    }
}

/// Sends the lines in chunks and prints what became of each, and how far it is of how much. The inner error is the
/// input's.
async fn store_all(
    client: &Client,
    mut lines: mpsc::Receiver<io::Result<Line>>,
    supply: Supply,
    (mut progress, size): (Progress, Option<u64>),
    out: &mut Output,
) -> Result<io::Result<()>, Failure> {
    let start = Instant::now();
    let mut tally = Tally { stored: 0, refused: 0, next: 1 };
    let mut results = Results { printed: 0 };
    let mut broken = Ok(());
    while let Some(chunk) = next_chunk(&mut lines, supply, &mut broken).await {
        let read = chunk.last().map_or(0, |line| line.read);
        let stored = store_chunk(client, chunk, &mut tally, &mut results, &progress, out).await;
        progress.set(read, size);
        if let Err(failure) = stored {
            drop(progress);
            results.end(out)?;
            return Err(match tally.stored {
                // Nothing was stored before it: the failure says it all, unless the answer was lost.
                0 if !matches!(failure, Failure::BrokeOff { .. } | Failure::BadAnswer { .. }) => failure,
                stored => Failure::Interrupted { stored, line: tally.next, failure: Box::new(failure) },
            });
        }
    }
    progress.beside(|| results.end(out))?;
    if broken.is_err() {
        drop(progress);
        notice(format_args!("{} records are stored", tally.stored));
        return Ok(broken);
    }
    match tally {
        Tally { refused: 0, stored, .. } => {
            progress.end(format_args!("{} stored in {}", count(stored, "record"), show_elapsed(start.elapsed())));
            Ok(Ok(()))
        }
        Tally { refused, stored, .. } => Err(Failure::BadLines { refused, lines: refused + stored }),
    }
}

/// The next lines, as many as make a chunk or, of a live input, as are there; `None` at the end.
async fn next_chunk(
    lines: &mut mpsc::Receiver<io::Result<Line>>,
    supply: Supply,
    broken: &mut io::Result<()>,
) -> Option<Vec<Line>> {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    let mut next = lines.recv().await;
    loop {
        match next {
            Some(Ok(line)) => {
                bytes += line.text.as_ref().map_or(0, |text| text.len() + 1);
                chunk.push(line);
            }
            Some(Err(error)) => *broken = Err(error),
            None => break,
        }
        // The last line may pass the limit by its own length.
        if chunk.len() == MAX_CHUNK_LINES || bytes >= MAX_CHUNK_BYTES {
            break;
        }
        next = match supply {
            Supply::Ready => lines.recv().await,
            Supply::Live => lines.try_recv().ok(),
        };
    }
    (!chunk.is_empty()).then_some(chunk)
}

async fn store_chunk(
    client: &Client,
    chunk: Vec<Line>,
    tally: &mut Tally,
    results: &mut Results,
    progress: &Progress,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut body = Vec::new();
    let mut sent = 0;
    for text in chunk.iter().filter_map(|line| line.text.as_ref().ok()) {
        body.extend_from_slice(text);
        body.push(b'\n');
        sent += 1;
    }
    let (answers, end) = if sent == 0 { (Vec::new(), Ok(())) } else { send(client, body, progress, out).await? };
    if answers.len() > sent || (answers.len() < sent && end.is_ok()) {
        return Err(Failure::BadAnswer { why: format!("it has {} lines for {sent} records", answers.len()) });
    }
    progress.beside(|| print_chunk(chunk, answers, tally, results, out))?;
    end
}

/// Prints what became of the lines of a chunk, as far as the answers reach.
fn print_chunk(
    chunk: Vec<Line>,
    answers: Vec<Value>,
    tally: &mut Tally,
    results: &mut Results,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut answers = answers.into_iter();
    for line in chunk {
        let answer = match line.text {
            Ok(_) => match answers.next() {
                Some(answer) => answer,
                None => break,
            },
            Err(why) => json!({ "code": why.code(), "detail": why.to_string() }),
        };
        if answer["record_id"].is_string() {
            tally.stored += 1;
        } else {
            tally.refused += 1;
            let detail = answer["detail"].as_str().map_or_else(|| "refused".to_owned(), clean);
            notice(format_args!("line {}: {detail} [{}]", line.number, show(&answer, "code")));
        }
        tally.next = line.number + 1;
        results.print(line.number, answer, out)?;
    }
    out.flush()
}

/// Sends a chunk; waits while the daemon is busy with others'.
async fn send(
    client: &Client,
    body: Vec<u8>,
    progress: &Progress,
    out: &Output,
) -> Result<(Vec<Value>, Result<(), Failure>), Failure> {
    let give_up = Instant::now() + BUSY_TIME;
    loop {
        let path = ["v1", "records", "bulk"];
        match explain_wait(client, out, Some(progress), client.post_lines(&path, body.clone())).await {
            Err(Failure::Refused { status: 503, code, .. }) if code == "busy" && Instant::now() < give_up => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            done => return done,
        }
    }
}

/// The results as they are printed: ids of what was stored, or one JSON array of all.
struct Results {
    printed: u64,
}

impl Results {
    fn print(&mut self, line: u64, mut answer: Value, out: &mut Output) -> Result<(), Failure> {
        if out.is_json() {
            if let Value::Object(members) = &mut answer {
                members.insert("line".to_owned(), line.into());
            }
            out.write(if self.printed == 0 { "[" } else { ",\n" })?;
            out.write(&answer)?;
        } else if answer["record_id"].is_string() {
            out.line(show(&answer, "record_id"))?;
        }
        self.printed += 1;
        Ok(())
    }

    fn end(&self, out: &mut Output) -> Result<(), Failure> {
        match (out.is_json(), self.printed) {
            (false, _) => Ok(()),
            (true, 0) => out.line("[]"),
            (true, _) => out.line("]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(input: &[u8]) -> Vec<(u64, Result<String, BadLine>)> {
        let mut lines = Vec::new();
        // A small buffer, so that lines span several of them.
        read_lines(BufReader::with_capacity(7, input), |line| {
            let line = line.expect("memory can be read");
            lines.push((line.number, line.text.map(|text| String::from_utf8(text).expect("checked"))));
            true
        });
        lines
    }

    #[test]
    fn lines_are_numbered_as_an_editor_does_and_empty_ones_left_out() {
        let read = lines_of(b"{}\r\n\n  \n[1]\n\xff\nlast");
        let expected = [
            (1, Ok("{}".to_owned())),
            (4, Ok("[1]".to_owned())),
            (5, Err(BadLine::NotUtf8)),
            (6, Ok("last".to_owned())),
        ];
        assert_eq!(read, expected);
        assert_eq!(lines_of(b""), []);
    }

    #[test]
    fn a_byte_order_mark_before_the_first_line_is_no_part_of_it() {
        let read = lines_of(b"\xef\xbb\xbf{}\n\xef\xbb\xbf{}\n");
        assert_eq!(read, [(1, Ok("{}".to_owned())), (2, Ok("\u{feff}{}".to_owned()))]);
        assert_eq!(lines_of(b"\xef\xbb\xbf\n"), []);
    }

    #[test]
    fn a_line_that_is_too_long_costs_only_itself() {
        let longest = "x".repeat(MAX_LINE_BYTES);
        for over in [1, 2, 3, 100_000] {
            let too_long = "y".repeat(MAX_LINE_BYTES + over);
            for end in ["\n", "\r\n"] {
                let read = lines_of([&longest, end, &too_long, end, "after"].concat().as_bytes());
                let expected = [(1, Ok(longest.clone())), (2, Err(BadLine::TooLong)), (3, Ok("after".to_owned()))];
                assert!(read == expected, "over by {over}, {end:?}");
            }
        }
        assert!(lines_of("y".repeat(MAX_LINE_BYTES * 3).as_bytes()) == [(1, Err(BadLine::TooLong))]);
    }
}

//! How far a long command is: a bar on a terminal, a plain line now and then elsewhere, always on standard error.

use std::fmt::Display;
use std::future::Future;
use std::io::{self, IsTerminal};
use std::pin::pin;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use serde_json::Value;

use super::client::Client;
use super::failure::Failure;
use super::output::{Output, notice};

/// Between two plain lines: few enough for a log file, often enough to see that it lives.
const BETWEEN_LINES: Duration = Duration::from_secs(2);

/// Between two redraws of the parts that move by themselves.
const BETWEEN_FRAMES: Duration = Duration::from_millis(100);

/// How often the daemon is asked how far it is: a quarter of what people feel as a pause.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// How far a command is. What it drew is gone when this is dropped.
pub(super) struct Progress {
    shape: Shape,
    /// What is being done, such as `syncing`.
    doing: &'static str,
    /// What is counted, such as `blocks`.
    unit: &'static str,
}

enum Shape {
    /// With -q, and where --json is read by a program.
    Silent,
    Bar(ProgressBar),
    Lines {
        next: Instant,
    },
}

impl Progress {
    /// Starts to show how far `doing` is, counted in `unit`.
    pub(super) fn start(doing: &'static str, unit: &'static str, out: &Output) -> Self {
        let shape = if out.is_quiet() {
            Shape::Silent
        } else if io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style("{spinner} {msg} {pos} ", unit));
            bar.set_message(doing);
            bar.enable_steady_tick(BETWEEN_FRAMES);
            Shape::Bar(bar)
        } else if out.is_json() {
            Shape::Silent
        } else {
            Shape::Lines { next: Instant::now() + BETWEEN_LINES }
        };
        Self { shape, doing, unit }
    }

    /// `done` of `of` are done; `None` where nobody knows how many there are.
    pub(super) fn set(&mut self, done: u64, of: Option<u64>) {
        match &mut self.shape {
            Shape::Silent => {}
            Shape::Bar(bar) => {
                if let Some(of) = of
                    && bar.length() != Some(of)
                {
                    bar.set_length(of);
                    bar.set_style(style("{msg} [{bar:30}] {pos}/{len} ", self.unit));
                }
                bar.set_position(done);
            }
            Shape::Lines { next } => {
                let now = Instant::now();
                if now >= *next {
                    *next = now + BETWEEN_LINES;
                    match of {
                        Some(of) => notice(format_args!("{}: {done} of {of} {}", self.doing, self.unit)),
                        None => notice(format_args!("{}: {done} {}", self.doing, self.unit)),
                    }
                }
            }
        }
    }

    /// Waits for `work` of the daemon, and meanwhile shows what `how_far` reads from its status: how much is done, of
    /// how much.
    pub(super) async fn watch<T>(
        &mut self,
        client: &Client,
        work: impl Future<Output = Result<T, Failure>>,
        how_far: impl Fn(&Value) -> Option<(u64, Option<u64>)>,
    ) -> Result<T, Failure> {
        if let Shape::Silent = self.shape {
            return work.await;
        }
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                status = next_status(client) => {
                    if let Some((done, of)) = status.as_ref().and_then(&how_far) {
                        self.set(done, of);
                    }
                }
            }
        }
    }

    /// Runs `print`, which may write to the terminal, while the bar is out of the way.
    pub(super) fn beside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.shape {
            Shape::Bar(bar) => bar.suspend(print),
            Shape::Silent | Shape::Lines { .. } => print(),
        }
    }

    /// Ends with `totals` in place of what was shown.
    pub(super) fn end(self, totals: impl Display) {
        let is_shown = !matches!(self.shape, Shape::Silent);
        drop(self);
        if is_shown {
            notice(totals);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shape::Bar(bar) = &self.shape {
            bar.finish_and_clear();
        }
    }
}

/// How long a record may take before people wonder.
const WONDER: Duration = Duration::from_secs(1);

/// Waits for a record to be stored; says why where the daemon may not sign yet, beside the bar if there is one.
pub(super) async fn explain_wait<T>(
    client: &Client,
    out: &Output,
    progress: Option<&Progress>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut work = pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(WONDER), if !out.is_quiet() => {}
    }
    let status = async { client.get(&["v1", "status"], &[]).await.ok() };
    tokio::select! {
        done = &mut work => return done,
        status = status => {
            if status.is_some_and(|status| status["signing"] == false) {
                let say = || notice("waiting for the daemon: it asks its peers for this station's own log first");
                progress.map_or_else(say, |progress| progress.beside(say));
            }
        }
    }
    work.await
}

/// The daemon's status after a while; that it cannot be had is no news of the work.
async fn next_status(client: &Client) -> Option<Value> {
    tokio::time::sleep(ASK_EVERY).await;
    client.get(&["v1", "status"], &[]).await.ok()
}

fn style(template: &str, unit: &str) -> ProgressStyle {
    let template = format!("{template}{unit} {{elapsed}}");
    ProgressStyle::with_template(&template).expect("the templates here are right").progress_chars("=> ")
}

/// A span of time for people, such as `0.4 s` or `2 min 5 s`.
pub(super) fn show_elapsed(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        0..60 => format!("{:.1} s", elapsed.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

//! How far a long command is: a bar on a terminal, a plain line now and then elsewhere, always on standard error.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{Output, notice};

/// Between two plain lines: few enough for a log file, often enough to see that it lives.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Between two redraws of the parts that move by themselves.
const BETWEEN_FRAMES: Duration = Duration::from_millis(100);

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
    /// Starts to show how far `doing` is, counted in `unit`. `quiet` is whether -q was given.
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

    /// Whether it is shown to anybody.
    pub(super) const fn is_shown(&self) -> bool {
        !matches!(self.shape, Shape::Silent)
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

    /// Runs `print`, which may write to the terminal, while the bar is out of the way.
    pub(super) fn beside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.shape {
            Shape::Bar(bar) => bar.suspend(print),
            Shape::Silent | Shape::Lines { .. } => print(),
        }
    }

    /// Ends with `totals` in place of what was shown.
    pub(super) fn end(self, totals: std::fmt::Arguments<'_>) {
        if self.is_shown() {
            self.beside(|| notice(totals));
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
